# SPDX-License-Identifier: Apache-2.0
"""Long work in slices: how much to do in one call, when to save, when to stop.

`runner.main` sets a limit on the seconds of a call; `Checkpoints` saves what was done, and stops
once the limit is over. The same call then goes on from the last checkpoint.

`run_in_slices` is for the two loops that `aeb.sample` does not fit: `simulation` takes running
means of every coefficient over thousands of draws, which `collect` would keep whole, and in `uci`
each split has minibatches of its own, which its chains share.
"""

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np

from aeb import checkpoint
from aeb.files.archive import DamagedFileError
from aeb.usage import UsageError

__all__ = ["Checkpoints", "OutOfTimeError", "is_over", "limited", "paced", "run_in_slices"]

T = TypeVar("T")

_DEADLINE: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


class OutOfTimeError(Exception):
    """The seconds are over; what was done is saved."""


@contextlib.contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Limit what is done inside to so many seconds from now; None is no limit."""
    token = _DEADLINE.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def is_over() -> bool:
    deadline = _DEADLINE.get()
    return deadline is not None and time.monotonic() >= deadline


def paced(count: int, patience: float = 0.5) -> Iterator[int]:
    """Cut a count of steps into what to take in one compiled call, so that a progress bar moves.

    Args:
        count: steps to take, >= 0.
        patience: seconds that a call may take before the next is no longer than it.

    Yields:
        The next steps to take; twice as many each time, as long as calls are quicker than that.
    """
    pace = 1
    while count > 0:
        steps = min(pace, count)
        began = time.monotonic()
        yield steps
        pace = pace * 2 if time.monotonic() - began < patience else pace
        count -= steps


class Checkpoints:
    """The checkpoints of a unit in one folder; its clock starts when it is made.

    Args:
        folder: where they live; made when the first is saved.
        every: seconds between two of them.
    """

    def __init__(self, folder: Path, every: float) -> None:
        self.folder, self.every = folder, every
        self._began = self._saved = time.monotonic()
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of work, those before an interruption included up to the last checkpoint."""
        return self._before + time.monotonic() - self._began

    def restore(self, tree: T) -> T:
        """Read the newest tree, or return the one given where there is none.

        Raises:
            UsageError: what the folder holds is of another kind of run.
        """
        if checkpoint.latest_step(self.folder) is None:
            return tree
        try:
            _, (tree, before) = checkpoint.restore(self.folder, (tree, np.zeros(())))
        except DamagedFileError:
            raise
        except ValueError as error:
            raise UsageError(
                f"work: {self.folder} does not fit this version; delete it ({error})"
            ) from error
        self._before = float(before)
        return tree

    def save(self, step: int, tree: object) -> None:
        checkpoint.save(self.folder, step, (tree, np.asarray(self.seconds)))
        self._saved = time.monotonic()

    def save_if_due(self, step: int, tree: object) -> None:
        """Save where the last time is long enough ago, or the seconds of the call are over.

        Raises:
            OutOfTimeError: they are over; the tree is saved.
        """
        over = is_over()
        if over or time.monotonic() - self._saved >= self.every:
            self.save(step, tree)
        if over:
            raise OutOfTimeError


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
