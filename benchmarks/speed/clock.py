# SPDX-License-Identifier: Apache-2.0
"""Times of several contenders, taken in turn.

Other work comes and goes on a machine, so two times are compared only where they were taken one
right after the other: a round times each contender once, A B C, A B C, and a ratio is the median
over rounds of the ratio within a round.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import check

__all__ = ["Case", "Clock", "Contender", "Spread", "copied", "ratio", "spread", "stepping"]

Contender = Callable[[int], None]
"""Does its work so many times, and returns when all of it is done."""

FEWEST = 3
"""Rounds that are made however long they take; quartiles of fewer mean nothing."""


class Case(NamedTuple):
    """What yields one row.

    Attributes:
        name: for the progress bar.
        config: all that fixes the row but the clock, as JSON can hold it.
        run: `(clock, folder) -> metrics`; the folder is there for scratch files.
        needs: a package that is no dependency of ours, or None.
    """

    name: str
    config: dict[str, Any]
    run: Callable[[Clock, Path], dict[str, Any]]
    needs: str | None = None


class Spread(NamedTuple):
    """The middle half of several values."""

    median: float
    low: float  # lower quartile
    high: float  # upper quartile


@dataclasses.dataclass(frozen=True)
class Clock:
    """How long to measure."""

    repeats: int = 21
    """Rounds at most."""
    least: float = 0.3
    """Seconds that one timing takes at least, by doing the work several times over."""
    limit: float = 50.0
    """Seconds after which no round is begun; three are made in any case, if repeats allow."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(self, whole={1: "repeats"}, positive="least limit")

    def race(
        self, contenders: Mapping[str, Contender], *, per: int = 1, warm: bool = True
    ) -> dict[str, Any]:
        """Time the contenders in turn.

        Args:
            contenders: by name, in the order to run them.
            per: how many units one piece of work is, such as steps a call.
            warm: whether to run each once before, and as often in one timing as the least time
                takes; False where each run is as cold as the first.

        Returns:
            For each name the median and the quartiles in seconds a unit, and the times of all
            rounds.
        """
        lengths = dict.fromkeys(contenders, 1)
        if warm:
            for name, run in contenders.items():
                run(1)
                lengths[name] = self._length(run)
        rounds: dict[str, list[float]] = {name: [] for name in contenders}
        began = time.monotonic()
        for number in range(self.repeats):
            if number >= FEWEST and time.monotonic() - began > self.limit:
                break
            for name, run in contenders.items():
                rounds[name].append(_seconds(run, lengths[name]) / (lengths[name] * per))
        return {
            name: spread(times)._asdict() | {"rounds": [float(f"{t:.5g}") for t in times]}
            for name, times in rounds.items()
        }

    def _length(self, run: Contender) -> int:
        """How many pieces of work take the least time."""
        length = 1
        while (took := _seconds(run, length)) < self.least:
            wanted = length * self.least / max(took, 1e-9)
            length = min(max(2 * length, round(wanted)), 100 * length)
        return length


def spread(values: Sequence[float]) -> Spread:
    """Take median and quartiles."""
    low, median, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75))
    return Spread(float(median), float(low), float(high))


def ratio(times: Mapping[str, Any], top: str, bottom: str) -> Spread:
    """Divide the times of two contenders of one race, round by round."""
    pairs = zip(times[top]["rounds"], times[bottom]["rounds"], strict=True)
    return spread([a / b for a, b in pairs])


def stepping(step: Callable[..., Any], state: Any, *rest: Any) -> Contender:
    """Make a contender of a step, `(state, *rest) -> state`, which may use up the state."""
    held = [state]
    del state

    def run(count: int) -> None:
        state = held.pop()
        for _ in range(count):
            state = step(state, *rest)
        held.append(jax.block_until_ready(state))

    return run


def copied(tree: Any) -> Any:
    """Copy a tree, for a step that uses up its state."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def _seconds(run: Contender, count: int) -> float:
    began = time.perf_counter()
    run(count)
    return time.perf_counter() - began
