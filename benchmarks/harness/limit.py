# SPDX-License-Identifier: Apache-2.0
"""A limit on the seconds of one call, so that long work goes in slices.

`runner.main` sets the limit; `Checkpoints` and the loop over units look at it.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator

__all__ = ["OutOfTimeError", "is_over", "within"]

_DEADLINE: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


class OutOfTimeError(Exception):
    """The seconds are over; what was done is saved."""


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Limit what is done inside to so many seconds from now; None is no limit."""
    deadline = None if seconds is None else time.monotonic() + seconds
    token = _DEADLINE.set(deadline)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def is_over() -> bool:
    """Whether the seconds are over."""
    deadline = _DEADLINE.get()
    return deadline is not None and time.monotonic() >= deadline
