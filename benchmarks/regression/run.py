# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` beside the lasso, MCP and the horseshoe, on simulated regressions.

The data sets are those of `benchmarks.simulation`.

    oracle      least squares on the true columns
    lasso       scikit-learn's LassoCV
    mcp         skglm's minimax concave penalty, by cross-validation
    horseshoe   numpyro's NUTS under the regularised horseshoe, on fewer data sets
    aeb         aeb.regression(X, y), nothing set; again with other keys, which draw other starts
                and other noise, with a point in place of the spike (v0 = 0), and on wide data

Seconds are of a fit alone; the CPU's are told beside those of the clock, which depend on what else
the machine does. The first call in a process that is of its method and shape compiles, so there the
fit is made twice: `first_call` has the first, the second counts. The horseshoe is too long for
that: what it compiles, in its first call, is in its seconds.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np

from benchmarks import harness
from benchmarks.harness import cost, methods
from benchmarks.harness.comparison import Cell, Comparison, Given, Job, Way
from benchmarks.harness.methods import Estimate
from benchmarks.harness.ranges import Some, one_of, whole, within
from benchmarks.regression import horseshoe, mcp
from benchmarks.regression.horseshoe import Horseshoe
from benchmarks.regression.mcp import MCP
from benchmarks.simulation.design import (
    DataSet,
    Design,
    data_key,
    draw,
    errors,
    interval_scores,
    population_mse,
)

LEAST_INCLUSION = 0.002
"""Inclusion probabilities below it are left out of the row."""

NotNegative = Annotated[int, whole(0)]


METHODS = {
    "oracle": Way(lambda g: methods.least_squares(g.x, g.y, count=len(g.settings.design.signals))),
    "lasso": Way(
        lambda g: methods.lasso(g.x, g.y, folds=g.settings.folds),
        ("scikit-learn",),
        lambda settings, cell: {"folds": settings.folds},
    ),
    "mcp": Way(
        lambda g: mcp.fit(g.x, g.y, settings=g.settings.mcp, folds=g.settings.folds),
        ("scikit-learn", "skglm"),
        lambda settings, cell: {"folds": settings.folds, **dataclasses.asdict(settings.mcp)},
    ),
    "aeb": Way(
        lambda g: methods.ours(g.x, g.y, key=g.cell.key or 0, v0=g.cell.v0),
        options=lambda settings, cell: {"key": cell.key, **methods.defaults(cell.v0)},
    ),
    "horseshoe": Way(
        lambda g: horseshoe.fit(
            g.x, g.y, settings=g.settings.horseshoe, level=g.settings.level, seed=g.seed
        ),
        ("numpyro",),
        lambda settings, cell: {"level": settings.level, **settings.horseshoe.options()},
    ),
}


@dataclasses.dataclass(frozen=True)
class Regression(Comparison):
    """The tasks are the names of the two designs among the settings, "design" and "wide"."""

    ways = METHODS
    source = "'aeb[peers]'"
    by_seed = False

    methods: Some[Annotated[str, one_of(*METHODS)]] = tuple(METHODS)  # what to compare
    keys: Some[NotNegative] = (0, 1)  # keys of aeb.regression; 0 is its default
    point: bool = True  # whether to try aeb with a point in place of its spike too
    folds: Annotated[int, whole(2)] = 10  # folds of the cross-validations
    level: Annotated[float, within("(0, 1)")] = 0.9  # of the horseshoe's intervals
    wide_sets: NotNegative = 3  # data sets of the wide design, for aeb at its first key
    design: Design = dataclasses.field(default_factory=Design)  # what the data are drawn from
    wide: Design = dataclasses.field(default_factory=lambda: Design(200, 10_000))  # the same, wide
    mcp: MCP = dataclasses.field(default_factory=MCP)  # how MCP is set
    horseshoe: Horseshoe = dataclasses.field(default_factory=Horseshoe)  # how the horseshoe is set

    def cells(self) -> tuple[Cell, ...]:
        cells = []
        for method in dict.fromkeys(self.methods):
            sets = self.horseshoe.data_sets if method == "horseshoe" else self.data_sets
            for key in dict.fromkeys(self.keys) if method == "aeb" else (None,):
                cells.append(Cell(method, "design", sets, key))
        if "aeb" in self.methods:
            learned, point = (
                Cell("aeb", "wide", self.wide_sets, self.keys[0], v) for v in (None, 0.0)
            )
            if self.point:
                cells.append(point._replace(task="design", repeats=self.data_sets))
            cells += [learned, point][: 1 + self.point]
        return tuple(cells)

    def told(self, task: str) -> dict[str, Any]:
        return dataclasses.asdict(getattr(self, task))

    def config(self, cell: Cell) -> dict[str, Any]:
        return {name: said for name, said in super().config(cell).items() if name != "task"}

    def job(self, cell: Cell, seed: int) -> Job:
        design = getattr(self, cell.task)
        data = DataSet(*jax.device_get(_program(design)(seed)))
        x, y = (np.asarray(part, np.float64) for part in (data.x, data.y))
        fit = functools.partial(METHODS[cell.method].fit, Given(self, cell, x, y, seed))
        before = cost.peak_bytes() if cost.reset_peak() else None

        def scored(estimate: Estimate) -> dict[str, Any]:
            peak = None if before is None else cost.peak_bytes()
            memory = {"resident_bytes_before": before, "peak_resident_bytes": peak}
            return score(design, data, estimate) | memory

        return Job((design, cell.v0), fit, scored)

    def _run(self, cell: Cell, seed: int, folder: Path, report: Any) -> harness.Measured:
        seconds, [metrics] = super()._run(cell, seed, folder, report)
        # The row has the seconds beside its metrics.
        return seconds, [{name: said for name, said in metrics.items() if name != "seconds"}]


@functools.lru_cache(maxsize=4)
def _program(design: Design) -> Callable[[int], DataSet]:
    """Compile the drawing of a data set from its seed."""
    return jax.jit(lambda seed: draw(design, data_key(seed)))


def score(design: Design, data: DataSet, estimate: Estimate) -> dict[str, Any]:
    """Score an estimate.

    `population_mse` is that of the prediction, intercept included, whose mean over rows of mean 0
    adds its square to the error of the coefficients; the truth has none.
    """
    count = len(design.signals)
    beta = np.asarray(data.beta, np.float64)
    of_coefficients = population_mse(design, beta, estimate.coefficients)
    found, inclusion = estimate.found, estimate.inclusion
    return {
        "population_mse": of_coefficients + estimate.intercept**2,
        "population_mse_of_coefficients": of_coefficients,
        "fresh": errors(
            data._replace(fresh_y=data.fresh_y - estimate.intercept), estimate.coefficients
        ),
        "fresh_with_true_beta": errors(data, beta),
        "intercept": estimate.intercept,
        "non_zero": int(np.count_nonzero(estimate.coefficients)),
        "true_discoveries": int(found[:count].sum()),
        "false_discoveries": int(found[count:].sum()),
        "beta": [
            {
                "true": float(beta[j]),
                "estimate": float(estimate.coefficients[j]),
                "found": bool(found[j]),
                "inclusion": None if inclusion is None else float(inclusion[j]),
                "intervals": {kind: ends[j].tolist() for kind, ends in estimate.intervals.items()},
            }
            for j in range(count)
        ],
        "intervals": {
            kind: interval_scores(beta, *ends.T, count=count)
            for kind, ends in estimate.intervals.items()
        },
        "inclusion": None if inclusion is None else _worth_telling(inclusion),
        "largest_r_hat": estimate.r_hat,
        "details": dict(estimate.details),
    }


def _worth_telling(inclusion: np.ndarray) -> list[tuple[int, float]]:
    """List pairs of column and probability, to four digits."""
    places = np.flatnonzero(inclusion >= LEAST_INCLUSION)
    return [(int(j), round(float(inclusion[j]), 4)) for j in places]


PRESETS = {
    # Only what comes with the `test` extra; fewer rows and columns.
    "smoke": Regression(
        preset="smoke",
        methods=("oracle", "lasso", "aeb"),
        data_sets=2,
        wide_sets=1,
        point=False,
        design=Design(60, 150),
        wide=Design(80, 300),
    ),
    "cpu": Regression(preset="cpu", data_sets=10, wide_sets=1, horseshoe=Horseshoe(data_sets=1)),
    "paper": Regression(preset="paper"),
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
