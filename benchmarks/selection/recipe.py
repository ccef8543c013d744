# SPDX-License-Identifier: Apache-2.0
"""What experiments share that set methods side by side, on designs and on real data."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from benchmarks import harness
from benchmarks.harness.ranges import Count
from benchmarks.regression import cost
from benchmarks.regression.recipe import Way, check_installed


class Cell(NamedTuple):
    """A method on a design, or on real data."""

    method: str
    task: str  # a design, or real data
    repeats: int  # data sets of a design, folds of real data


class Job(NamedTuple):
    """A fit, and what is said of it."""

    shape: tuple[int, ...]  # of the columns: `aeb` is compiled for each
    fit: Callable[[], Any]
    score: Callable[[Any], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Comparison(harness.Settings, abc.ABC):
    """Settings of such an experiment, which says by which methods, on what, and what to fit."""

    ways: ClassVar[Mapping[str, Way]]

    methods: tuple[str, ...] = ()  # what to compare
    designs: tuple[str, ...] = ()  # designs
    tasks: tuple[str, ...] = ()  # real data
    data_sets: Count = 50  # data sets of a design, with the seeds seed, seed + 1, ...

    def check(self) -> None:
        super().check()
        check_installed(self.methods, self.ways)

    @abc.abstractmethod
    def cells(self) -> tuple[Cell, ...]:
        """List what there is to compare: each task in turn, by every method."""

    @abc.abstractmethod
    def told(self, task: str) -> dict[str, Any] | None:
        """Return what fixes a design, as JSON can hold it; None for real data."""

    @abc.abstractmethod
    def job(self, cell: Cell, seed: int) -> Job:
        """Make the data of a row, and what fits and scores them."""

    def seeds_of(self, cell: Cell) -> range:
        """Return the seeds of a cell's data sets, or the numbers of its folds, draws or keys."""
        first = 0 if self.told(cell.task) is None else self.seed
        return range(first, first + cell.repeats)

    def config(self, cell: Cell) -> dict[str, Any]:
        return {
            "method": cell.method,
            "task": cell.task,
            "design": self.told(cell.task),
            "options": self.ways[cell.method].options(self, cell),
        }

    def units(self) -> list[harness.Unit]:
        return harness.one_row_each(
            self, self._run, name=lambda cell: f"{cell.method}, {cell.task}", by_seed=True
        )

    def _run(self, cell: Cell, seed: int, folder: Path, report: Any) -> harness.Measured:
        """Fit by a method, and score it; too short a work to be checkpointed."""
        del folder
        job, method = self.job(cell, seed), cell.method
        called = (type(self), method, job.shape if method.startswith("aeb") else None)
        packages = self.ways[method].packages
        spent, found = cost.spent(called, job.fit, packages, twice=method != "horseshoe")
        report(1)
        return spent["seconds"], [job.score(found) | spent]
