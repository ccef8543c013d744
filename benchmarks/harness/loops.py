# SPDX-License-Identifier: Apache-2.0
"""A compiled loop run to its end in slices, from its last checkpoint if there is one.

For the two loops that `aeb.sample` does not fit: `simulation` takes running means of every
coefficient over thousands of draws, which `collect` would keep whole, and in `uci` each split has
minibatches of its own, which its chains share.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax

from benchmarks.harness.slices import Checkpoints, paced

__all__ = ["run_in_slices"]

T = TypeVar("T")


def run_in_slices(
    advance: Callable[[T, int], T],
    carry: T,
    done: Callable[[T], int],
    total: int,
    folder: Path,
    *,
    checkpoint_every: float,
    report: Callable[[int], object],
) -> tuple[float, T]:
    """Run a loop to its end.

    Args:
        advance: `(carry, draws) -> carry`, after so many draws more. It is called once with 0,
            which compiles it before the clock starts.
        carry: where to begin.
        done: reads off a carry how many draws it has behind it.
        total: draws in all.
        folder: for checkpoints.
        checkpoint_every: seconds between two of them.
        report: called with the draws done, those before an interruption first.

    Returns:
        Seconds of work, compiling left out, and the last carry.

    Raises:
        OutOfTimeError: the seconds of the call are over; all is saved.
    """
    carry = advance(carry, 0)
    checkpoints = Checkpoints(folder, checkpoint_every)
    carry = checkpoints.restore(carry)
    behind = done(carry)
    report(behind)
    for draws in paced(total - behind):
        carry = jax.block_until_ready(advance(carry, draws))
        behind += draws
        report(draws)
        if behind < total:
            checkpoints.save_if_due(behind, carry)
    return checkpoints.seconds, carry
