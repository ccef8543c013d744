# SPDX-License-Identifier: Apache-2.0
"""What a method of a comparison is, what it needs, and how it is set."""

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np

from benchmarks.harness.ranges import Count, Positive, whole, within
from benchmarks.simulation.design import Design

MODULES = {"scikit-learn": "sklearn", "millipede-regression": "millipede"}
"""Names to import packages by, where they differ."""

UnitInterval = Annotated[float, within("(0, 1)")]


class Given(NamedTuple):
    """What a method is given to fit."""

    settings: Any  # of the experiment
    cell: Any  # of the row
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
    options: Callable[[Any, Any], dict[str, Any]] = lambda settings, cell: {}
    most: int | None = None


class Cell(NamedTuple):
    """A method on data sets of one design."""

    method: str
    design: Design
    data_sets: int
    key: int | None = None  # of aeb
    v0: float | None = None  # of aeb; None learns it


@dataclasses.dataclass(frozen=True)
class MCP:
    """Settings of the penalty and of its path."""

    gamma: Annotated[float, within("(1, inf)")] = 3.0  # concavity; the larger, the closer to lasso
    path: Annotated[int, whole(2)] = 100  # penalties on the path
    ratio: UnitInterval = 0.05  # the last penalty over the first
    tolerance: Positive = 1e-6  # of each fit, on the violation of its optimality conditions


@dataclasses.dataclass(frozen=True)
class Horseshoe:
    """Settings of the prior and of the sampler."""

    data_sets: Annotated[int, whole(0)] = 10  # the first of those that the others see
    chains: Count = 2  # one after the other
    warmup: Count = 300  # steps left out
    draws: Annotated[int, whole(4)] = 300  # draws kept of each chain
    target_accept: UnitInterval = 0.9  # acceptance that the step size is tuned to
    tree_depth: Count = 10  # doublings of a trajectory at most
    signals: Positive = 3.0  # guess of the number of signals; 3 is the truth
    slab_scale: Positive = 2.0  # scale of the slab, in units of the standard deviation of y
    slab_freedom: Positive = 4.0  # degrees of freedom of the slab

    def options(self) -> dict[str, Any]:
        """Return what a row says of them."""
        return {name: value for name, value in vars(self).items() if name != "data_sets"}


def check_installed(methods: Iterable[str], ways: Mapping[str, Way], *, source: str = "it") -> None:
    """Raise a ValueError that names the first package which a method needs and lacks.

    Args:
        methods: what was chosen.
        ways: all methods, by name.
        source: what to install.
    """
    for method in methods:
        for package in ways[method].packages:
            if importlib.util.find_spec(MODULES.get(package, package)) is None:
                raise ValueError(
                    f"methods: {method} needs {package}; pip install {source}, or leave "
                    f"{method} out of --methods"
                )
