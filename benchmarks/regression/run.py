# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` beside its peers, on the data sets of `benchmarks.simulation`.

    oracle      least squares on the true columns
    lasso       scikit-learn's LassoCV
    mcp         skglm's minimax concave penalty, by cross-validation
    horseshoe   numpyro's NUTS under the regularised horseshoe, on fewer data sets
    aeb         aeb.regression(X, y), nothing set; again with other keys, which draw other starts
                and other noise, and once more on wide data

Seconds are of a fit alone; the CPU's are told beside those of the clock, which depend on what else
the machine does. The first call in a process that is of its method and shape compiles, so there the
fit is made twice: `first_call` has the first, the second counts. The horseshoe is too long for
that: what it compiles, in its first call, is in its seconds.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from benchmarks import harness
from benchmarks.regression import horseshoe, mcp, memory, methods, scores
from benchmarks.regression.estimate import Estimate
from benchmarks.regression.horseshoe import Horseshoe
from benchmarks.regression.mcp import MCP
from benchmarks.simulation.design import DataSet, Design, data_key, draw

__all__ = ["NAME", "PRESETS", "Case", "Regression", "main"]

NAME = "regression"

DESCRIPTION = "aeb.regression beside the lasso, MCP and the horseshoe, on simulated regressions."

Method = Literal["oracle", "lasso", "mcp", "horseshoe", "aeb"]

PACKAGES: dict[Method, tuple[str, ...]] = {
    "oracle": (),
    "lasso": ("scikit-learn",),
    "mcp": ("scikit-learn", "skglm"),
    "horseshoe": ("numpyro",),
    "aeb": (),
}
"""What a method needs beside `aeb`, by its name on the package index."""

MODULES = {"scikit-learn": "sklearn"}
"""Names to import them by, where they differ."""

CALLED: set[tuple[Method, Design]] = set()
"""What has been called in this process, and so is compiled."""


class Case(NamedTuple):
    """A method on data sets of one design."""

    method: Method
    design: Design
    data_sets: int
    key: int | None = None  # of aeb


@dataclasses.dataclass(frozen=True)
class Regression(harness.Settings):
    """The settings of this script."""

    methods: tuple[Method, ...] = ("oracle", "lasso", "mcp", "aeb", "horseshoe")
    """What to compare."""
    data_sets: int = 50
    """Data sets, with the seeds seed, seed + 1, ..."""
    keys: tuple[int, ...] = (0, 1)
    """Keys of aeb.regression; 0 is its default."""
    folds: int = 10
    """Folds of the cross-validations."""
    level: float = 0.9
    """Of the horseshoe's intervals, in (0, 1)."""
    wide_sets: int = 3
    """Data sets of the wide design, for aeb at its first key."""
    design: Design = dataclasses.field(default_factory=Design)
    """What the data are drawn from."""
    wide: Design = dataclasses.field(default_factory=lambda: Design(200, 10_000))
    """The wide design."""
    mcp: MCP = dataclasses.field(default_factory=MCP)
    """How MCP is set."""
    horseshoe: Horseshoe = dataclasses.field(default_factory=Horseshoe)
    """How the horseshoe is set."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        for part in (self.design, self.wide, self.mcp, self.horseshoe):
            part.check()
        harness.check(
            self,
            some="methods keys",
            whole={0: "wide_sets keys", 1: "data_sets", 2: "folds"},
            within={"(0, 1)": "level"},
        )
        for method in self.methods:
            for package in PACKAGES[method]:
                if importlib.util.find_spec(MODULES.get(package, package)) is None:
                    raise ValueError(
                        f"methods: {method} needs {package}; pip install 'aeb[peers]', "
                        "or leave it out of --methods"
                    )

    def cases(self) -> tuple[Case, ...]:
        """List what there is to compare."""
        cases = []
        for method in dict.fromkeys(self.methods):
            sets = self.horseshoe.data_sets if method == "horseshoe" else self.data_sets
            for key in dict.fromkeys(self.keys) if method == "aeb" else (None,):
                cases.append(Case(method, self.design, sets, key))
        if "aeb" in self.methods:
            cases.append(Case("aeb", self.wide, self.wide_sets, self.keys[0]))
        return tuple(cases)

    def config(self, case: Case) -> dict[str, Any]:
        """Tell all that fixes the row of a case but its seed."""
        horseshoe = dataclasses.asdict(self.horseshoe)
        del horseshoe["data_sets"]
        options: dict[Method, dict[str, Any]] = {
            "oracle": {},
            "lasso": {"folds": self.folds},
            "mcp": {"folds": self.folds, **dataclasses.asdict(self.mcp)},
            "horseshoe": {"level": self.level, **horseshoe},
            "aeb": {"key": case.key, **methods.defaults()},
        }
        design = dataclasses.asdict(case.design)
        return {"method": case.method, "design": design, "options": options[case.method]}

    def units(self) -> list[harness.Unit]:
        """List the fits."""
        return [
            harness.Unit(
                name=f"{case.method}, p = {case.design.num_columns:,}, data set {seed}",
                configs=(self.config(case),),
                seeds=(seed,),
                size=1,
                run=functools.partial(self._run, case, seed),
            )
            for case in self.cases()
            for seed in range(self.seed, self.seed + case.data_sets)
        ]

    def _run(
        self, case: Case, seed: int, folder: Path, report: Any
    ) -> tuple[float, list[dict[str, Any]]]:
        """Fit a data set by a method, and score it; too short a work to be checkpointed."""
        del folder
        data = DataSet(*jax.device_get(_program(case.design)(seed)))
        fit = self._fit(case, data, seed)
        place = (case.method, case.design)
        new = place not in CALLED
        CALLED.add(place)
        marked = memory.reset_peak()
        before = memory.peak_bytes() if marked else None
        spent, estimate = _timed(fit)
        first = spent if new else None
        if new and case.method != "horseshoe":
            spent, estimate = _timed(fit)
        metrics = scores.score(case.design, data, estimate) | {
            "cpu_seconds": spent.cpu,
            "first_call": None if first is None else first._asdict(),
            "resident_bytes_before": before,
            "peak_resident_bytes": memory.peak_bytes() if marked else None,
            "packages": {name: metadata.version(name) for name in PACKAGES[case.method]},
        }
        report(1)
        return spent.clock, [metrics]

    def _fit(self, case: Case, data: DataSet, seed: int) -> Callable[[], Estimate]:
        """Bind a method to a data set."""
        x, y = (np.asarray(part, np.float64) for part in (data.x, data.y))
        if case.method == "oracle":
            count = len(case.design.signals)
            return lambda: methods.least_squares(x, y, count=count)
        if case.method == "lasso":
            return lambda: methods.lasso(x, y, folds=self.folds)
        if case.method == "mcp":
            return lambda: mcp.fit(x, y, settings=self.mcp, folds=self.folds)
        if case.method == "horseshoe":
            return lambda: horseshoe.fit(x, y, settings=self.horseshoe, level=self.level, seed=seed)
        assert case.key is not None
        key = case.key
        return lambda: methods.ours(x, y, key=key)


@functools.lru_cache(maxsize=4)
def _program(design: Design) -> Callable[[int], DataSet]:
    """Compile the drawing of a data set from its seed."""
    return jax.jit(lambda seed: draw(design, data_key(seed)))


class Spent(NamedTuple):
    """Seconds of a call."""

    clock: float
    cpu: float  # of all threads


def _timed(fit: Callable[[], Estimate]) -> tuple[Spent, Estimate]:
    clock, cpu = time.perf_counter(), time.process_time()
    estimate = fit()
    return Spent(time.perf_counter() - clock, time.process_time() - cpu), estimate


PRESETS = {
    # Only what comes with the `test` extra; fewer rows and columns.
    "smoke": Regression(
        preset="smoke",
        methods=("oracle", "lasso", "aeb"),
        data_sets=2,
        wide_sets=1,
        design=Design(60, 150),
        wide=Design(80, 300),
    ),
    "cpu": Regression(preset="cpu", data_sets=10, wide_sets=1, horseshoe=Horseshoe(data_sets=1)),
    "paper": Regression(preset="paper"),
}


def main(args: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return harness.main(NAME, PRESETS, args, description=DESCRIPTION)
