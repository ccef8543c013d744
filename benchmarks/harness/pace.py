# SPDX-License-Identifier: Apache-2.0
"""How many steps to take in one compiled call, so that a progress bar moves."""

from __future__ import annotations

import time
from collections.abc import Iterator

__all__ = ["paced"]

PATIENCE = 0.5
"""Seconds that one compiled call may take before the progress bar moves."""


def paced(count: int) -> Iterator[int]:
    """Cut a count of steps into what to take in one call.

    Args:
        count: steps to take, >= 0.

    Yields:
        The next steps to take; twice as many each time, while what is done with them takes less
        than `PATIENCE`.
    """
    pace = 1
    while count > 0:
        steps = min(pace, count)
        began = time.monotonic()
        yield steps
        pace = pace * 2 if time.monotonic() - began < PATIENCE else pace
        count -= steps
