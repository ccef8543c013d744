# SPDX-License-Identifier: Apache-2.0
"""Settings of the experiments that set methods side by side, on designs and on real data."""

import abc
import dataclasses
import importlib.util
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from benchmarks.harness import cost
from benchmarks.harness.ranges import Count
from benchmarks.harness.runner import Measured, Settings, Unit, one_row_each

__all__ = ["Cell", "Comparison", "Given", "Job", "Way", "check_installed"]

MODULES = {"scikit-learn": "sklearn", "millipede-regression": "millipede"}
"""Names to import packages by, where they differ."""


def check_installed(option: str, name: str, packages: tuple[str, ...], install: str) -> None:
    """Raise an error that says how to install what a method or a task needs, if it is missing."""
    for package in packages:
        if importlib.util.find_spec(MODULES.get(package, package)) is None:
            raise ValueError(
                f"{option}: {name} needs {package}; pip install {install.format(package)}, or "
                f"leave {name} out of --{option}"
            )


class Cell(NamedTuple):
    """A method on a task."""

    method: str
    task: str  # a design, or real data
    repeats: int  # data sets of a design, folds of real data
    key: int | None = None  # of aeb, where several are compared
    v0: float | None = None  # of aeb; None learns it


class Given(NamedTuple):
    """What a method is given to fit."""

    settings: Any  # of the experiment
    cell: Cell
    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    seed: int  # of the data


class Way(NamedTuple):
    """A method of a comparison.

    Attributes:
        fit: fits what is given, a `Given` or what else the experiment has.
        packages: what it needs beside `aeb`, by its name on the package index.
        options: `(settings, cell) -> options`, what a row says of how it is set.
        most: columns that it is given at most: beyond, one fit takes many minutes.
    """

    fit: Callable[[Any], Any]
    packages: tuple[str, ...] = ()
    options: Callable[[Any, Cell], dict[str, Any]] = lambda settings, cell: {}
    most: int | None = None


class Job(NamedTuple):
    """A fit, and what is said of it."""

    compiled: Hashable  # what `aeb` is compiled for: one fit of each compiles
    fit: Callable[[], Any]
    score: Callable[[Any], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Comparison(Settings, abc.ABC):
    """Settings of such an experiment, which says by which methods, on what, and what to fit."""

    ways: ClassVar[Mapping[str, Way]]
    source: ClassVar[str] = "it"  # what to install where a package is missing
    by_seed: ClassVar[bool] = True  # as in `one_row_each`

    methods: tuple[str, ...] = ()  # what to compare
    data_sets: Count = 50  # data sets of a design, with the seeds seed, seed + 1, ...

    def check(self) -> None:
        super().check()
        for method in self.methods:
            check_installed("methods", method, self.ways[method].packages, self.source)

    @abc.abstractmethod
    def cells(self) -> tuple[Cell, ...]:
        """List what there is to compare, in the order of the tables."""

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

    def units(self) -> list[Unit]:
        return one_row_each(
            self, self._run, name=lambda cell: f"{cell.method}, {cell.task}", by_seed=self.by_seed
        )

    def _run(self, cell: Cell, seed: int, folder: Path, report: Any) -> Measured:
        """Fit by a method, and score it; too short a work to be checkpointed."""
        del folder
        job, method = self.job(cell, seed), cell.method
        called = (type(self), method, job.compiled if method.startswith("aeb") else None)
        packages = self.ways[method].packages
        spent, found = cost.spent(called, job.fit, packages, twice=method != "horseshoe")
        report(1)
        return spent["seconds"], [job.score(found) | spent]
