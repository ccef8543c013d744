# SPDX-License-Identifier: Apache-2.0
"""Long work in slices: how much to do in one call, when to save, when to stop.

`runner.main` sets a limit on the seconds of a call; `Checkpoints` saves what was done, and stops
once the limit is over. The same call then goes on from the last checkpoint.

`sample` is `aeb.sample` under that limit, for an experiment that is one long call of it, as
`images` is. `run_in_slices` is for the loops that it does not fit. `simulation` takes running means
of every coefficient over thousands of draws, which `collect` would keep whole. In `uci` each split
has minibatches of its own, which its chains share. `convergence` adds up in double what its chains
sum, and reads them at steps that are even in their logarithm. `compression` scores its network
between two slices, and keeps the scores beside it.
"""

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

import aeb
from aeb import checkpoint
from aeb.files.archive import DamagedFileError
from aeb.usage import UsageError

__all__ = [
    *("Checkpoints", "OutOfTimeError", "is_over", "limited", "paced", "remaining"),
    *("run_in_slices", "sample"),
]

T = TypeVar("T")

SOON = 1e-9
"""Seconds for which `sample` asks where none are left, so that each call still takes a step."""

SAVE_EVERY = 60.0
"""Seconds between two times that `sample` saves its clock; `aeb.sample` saves as often."""

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


def remaining() -> float | None:
    """Return the seconds that are left, 0 where they are over, or None where there is no limit."""
    deadline = _DEADLINE.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def is_over() -> bool:
    """Return whether there is a limit on seconds, and they are over."""
    return remaining() == 0.0


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

    @property
    def due(self) -> bool:
        """Whether the last time that it was saved is long enough ago."""
        return time.monotonic() - self._saved >= self.every

    def save_if_due(self, step: int, tree: object) -> None:
        """Save where the last time is long enough ago, or the seconds of the call are over.

        Raises:
            OutOfTimeError: they are over; the tree is saved.
        """
        over = is_over()
        if over or self.due:
            self.save(step, tree)
        if over:
            raise OutOfTimeError


def sample(
    folder: Path, report: Callable[[int], object], *arguments: Any, **options: Any
) -> tuple[float, Any, Any]:
    """Call `aeb.sample` with its checkpoints in a folder, for no longer than the seconds left.

    It saves once a minute, whatever the settings say.

    Args:
        folder: that of the unit; what an earlier call left there is taken up.
        report: called with the steps done, those before an interruption first.
        arguments: those of `aeb.sample`.
        options: those of `aeb.sample`, other than `callback`, `checkpoint` and `limit_seconds`.

    Returns:
        Seconds of work, compiling and the calls that the limit stopped included, and what
        `aeb.sample` returns: the last state and the draws.

    Raises:
        OutOfTimeError: the seconds of the call are over; all is saved.
        ValueError: the folder holds another run, or an argument is out of its range.
    """
    chain, clock, done = folder / "chain", Checkpoints(folder / "clock", SAVE_EVERY), 0
    clock.restore(())

    def callback(state: aeb.State) -> None:
        nonlocal done
        report(int(state.step) - done)
        done = int(state.step)
        if clock.due:
            clock.save(done, ())

    left = remaining()
    options |= {"limit_seconds": None if left is None else max(left, SOON), "checkpoint": chain}
    try:
        state, draws = aeb.sample(*arguments, callback=callback, progress=False, **options)
    except TimeoutError as error:
        if not is_over():  # it is not from the limit
            raise
        clock.save(checkpoint.latest_step(chain) or 0, ())
        raise OutOfTimeError from error
    return clock.seconds, state, draws


def run_in_slices(
    advance: Callable[[T, int], T],
    carry: T,
    done: Callable[[T], int],
    total: int,
    checkpoints: Checkpoints,
    report: Callable[[int], object],
    slices: Callable[[int], Iterable[int]] = paced,
) -> T:
    """Run a loop to its end, from the last checkpoint if there is one.

    Args:
        advance: `(carry, count) -> carry`, after so many draws, steps or epochs more. It may use up
            the carry it is given.
        carry: where to begin.
        done: reads off a carry how many it has behind it.
        total: how many there are in all.
        checkpoints: those of the unit. Their clock runs: call `advance` with 0 before they are
            made, and compiling is left out of the seconds.
        report: called with the count of each slice, those before an interruption first.
        slices: cuts a count, what is left of the total, into slices. The limit on seconds is looked
            at after each.

    Returns:
        The last carry.

    Raises:
        OutOfTimeError: the seconds of the call are over; all is saved.
    """
    carry = checkpoints.restore(carry)
    behind = done(carry)
    report(behind)
    for count in slices(total - behind):
        carry = jax.block_until_ready(advance(carry, count))
        behind += count
        report(count)
        if behind < total:
            checkpoints.save_if_due(behind, carry)
    return carry
