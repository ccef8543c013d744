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
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from benchmarks.harness.ranges import Count, Positive

Contender = Callable[[int], None]
"""Does its work so many times, and returns when all of it is done."""

FEWEST = 3
"""Rounds that are made however long they take; quartiles of fewer mean nothing."""


class Spread(NamedTuple):
    """The middle half of several values."""

    median: float
    low: float  # lower quartile
    high: float  # upper quartile


@dataclasses.dataclass(frozen=True)
class Clock:
    """How long to measure."""

    repeats: Count = 21  # rounds at most
    least: Positive = 0.3  # seconds that one timing takes at least, by doing the work repeatedly
    # Seconds after which no round is begun; three are made in any case, if repeats allow.
    limit: Positive = 50.0

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


@dataclasses.dataclass(frozen=True, eq=False)
class Race:
    """What yields one row.

    Attributes:
        name: for the progress bar.
        config: all that fixes the row but its seed, as JSON can hold it.
        run: `clock -> metrics`.
        needs: a package that is no dependency of ours, or None.
    """

    name: str
    config: dict[str, Any]
    run: Callable[[Clock], dict[str, Any]]
    needs: str | None


@dataclasses.dataclass(frozen=True)
class Section:
    """Settings of a section, whose fields are the configuration of its rows.

    Attributes:
        each: settings that have an entry a row, and the name of an entry; entries go together.
        more: what else fixes a row, by name.
        needs: a package that is no dependency of ours, or None.
    """

    each: ClassVar[tuple[tuple[str, str], ...]] = ()
    more: ClassVar[tuple[tuple[str, Any], ...]] = ()
    needs: ClassVar[str | None] = None

    def measure(self, clock: Clock, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Time the contenders of a row, whose entries are given by name."""
        raise NotImplementedError  # each section has its own

    def races(self, section: str, shared: Mapping[str, Any]) -> list[Race]:
        """List the rows: one, or one for each entry of some settings.

        Args:
            section: its name.
            shared: what fixes the rows of all sections.

        Raises:
            ValueError: there are more of one entry than of another.
        """
        config = {"section": section, **shared, **dataclasses.asdict(self), **dict(self.more)}
        entries = [config.pop(name) for name, _ in self.each]
        if len({len(entry) for entry in entries}) > 1:
            names = ", ".join(name for name, _ in self.each)
            raise ValueError(f"{names}: got {[*map(len, entries)]} of them, needs one each")
        races = []
        for row in dict.fromkeys(zip(*entries, strict=True)) if entries else [()]:
            named = {name: entry for (_, name), entry in zip(self.each, row, strict=True)}
            name, run = ", ".join([section, *map(str, row)]), partial(self.measure, **named)
            races.append(Race(name, config | named, run, self.needs))
        return races


def spread(values: Sequence[float]) -> Spread:
    low, median, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75))
    return Spread(float(median), float(low), float(high))


def ratio(times: Mapping[str, Any], top: str, bottom: str) -> Spread:
    """Divide the times of two contenders of one race, round by round."""
    pairs = zip(times[top]["rounds"], times[bottom]["rounds"], strict=True)
    return spread([a / b for a, b in pairs])


def repeating(work: Callable[[], Any], times: int = 1) -> Contender:
    """Make a contender of a piece of work that takes nothing, or of so many of them."""

    def run(count: int) -> None:
        for _ in range(count * times):
            done = work()
        jax.block_until_ready(done)

    return run


def looping(loop: Callable[..., Any], state: Any, *rest: Any) -> Contender:
    """Make a contender of a loop, `(state, *rest, count) -> state`, which may use up the state.

    It works on a copy of the state, and goes on from where it stopped.
    """
    held = [jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)]

    def run(count: int) -> None:
        held.append(jax.block_until_ready(loop(held.pop(), *rest, count)))

    return run


def compiled(step: Callable[..., Any]) -> Any:
    """Compile a step that takes over its state, as `aeb.sample` compiles one."""
    return jax.jit(step, donate_argnums=0, compiler_options=aeb.compiler_options())


def turning(step: Callable[..., Any], state: Any, *rest: Any) -> Contender:
    """Make a contender of a step, `(state, *rest) -> state`, in a compiled loop."""

    def loop(state: Any, *rest: Any) -> Any:
        *arguments, count = rest
        return jax.lax.fori_loop(0, count, lambda _, state: step(state, *arguments), state)

    return looping(compiled(loop), state, *rest)


def stepping(step: Callable[..., Any], state: Any, *rest: Any, times: int = 1) -> Contender:
    """Make a contender of a step, `(state, *rest) -> state`, or of so many of them."""

    def loop(state: Any, *rest: Any) -> Any:
        *arguments, count = rest
        for _ in range(count * times):
            state = step(state, *arguments)
        return state

    return looping(loop, state, *rest)


def _seconds(run: Contender, count: int) -> float:
    began = time.perf_counter()
    run(count)
    return time.perf_counter() - began
