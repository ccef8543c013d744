# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` with two classes beside its rivals, on simulated designs and on real data.

Every method sees the same rows, and each is set as its users set it (`rivals.py` says how).
Seconds are of fit and prediction, taken as in `benchmarks.regression`.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from benchmarks import harness
from benchmarks.harness.ranges import Count, Some, one_of
from benchmarks.logistic import data
from benchmarks.logistic.data import Rows
from benchmarks.logistic.rivals import METHODS, Fitted
from benchmarks.regression import cost
from benchmarks.regression.recipe import check_installed
from benchmarks.selection.recipe import Cell

__all__ = ["NAME", "PRESETS", "Logistic", "main", "score"]

NAME = "logistic"

DESCRIPTION = "aeb.regression with two classes beside its rivals, on designs and on real data."

LEAST = 1e-6
"""Probabilities are scored as at least this and at most 1 less it: one row that a method was sure
of and wrong about costs at most 13.8."""


@dataclasses.dataclass(frozen=True)
class Logistic(harness.Settings):
    methods: Some[Annotated[str, one_of(*METHODS)]] = tuple(METHODS)  # what to compare
    designs: tuple[Annotated[str, one_of(*data.DESIGNS)], ...] = tuple(data.DESIGNS)
    tasks: tuple[Annotated[str, one_of(*data.TASKS)], ...] = data.TASKS  # real data
    data_sets: Count = 50  # data sets of a design, with the seeds seed, seed + 1, ...

    def check(self) -> None:
        super().check()
        check_installed(self.methods, METHODS)

    def cells(self) -> tuple[Cell, ...]:
        """List what there is to compare: each task in turn, by every method."""
        chosen = tuple(dict.fromkeys(self.methods))
        return (
            *(Cell(m, name, self.data_sets) for name in self.designs for m in chosen),
            *(Cell(m, name, data.FOLDS) for name in self.tasks for m in chosen if m != "truth"),
        )

    def seeds_of(self, cell: Cell) -> range:
        """Return the seeds of a cell's data sets, or the numbers of its folds."""
        first = 0 if cell.task in data.TASKS else self.seed
        return range(first, first + cell.repeats)

    def config(self, cell: Cell) -> dict[str, Any]:
        return {
            "method": cell.method,
            "task": cell.task,
            "design": data.told(cell.task),
            "options": METHODS[cell.method].options(self, cell),
        }

    def units(self) -> list[harness.Unit]:
        return harness.one_row_each(
            self, self._run, name=lambda cell: f"{cell.method}, {cell.task}", by_seed=True
        )

    def _run(self, cell: Cell, seed: int, folder: Path, report: Any) -> harness.Measured:
        """Fit by a method, and score it; too short a work to be checkpointed."""
        del folder
        real = cell.task in data.TASKS
        rows = data.fold(cell.task, seed) if real else data.draw(cell.task, seed)
        called = (NAME, cell.method, rows.x.shape if cell.method == "aeb" else None)
        way = METHODS[cell.method]
        spent, fitted = cost.spent(called, functools.partial(way.fit, rows), way.packages)
        report(1)
        return spent["seconds"], [score(rows, fitted) | spent]


def score(rows: Rows, fitted: Fitted) -> dict[str, Any]:
    """Score the probabilities of the rows to predict.

    Args:
        rows: that they are of.
        fitted: what a method says of them.

    Returns:
        The mean log loss in nats, the area under the ROC curve, the share of rows whose probability
        was cut, and the counts of true and false finds, None where the signals are not known.

    Raises:
        ValueError: a probability is no number in [0, 1].
    """
    from sklearn.metrics import roc_auc_score

    stated = np.asarray(fitted.probability, np.float64)
    if not np.all((stated >= 0) & (stated <= 1)):
        raise ValueError("a method gave probabilities outside of [0, 1]")
    cut = np.clip(stated, LEAST, 1.0 - LEAST)
    loss = -np.mean(rows.test_y * np.log(cut) + (1.0 - rows.test_y) * np.log1p(-cut))
    return {
        "log_loss": float(loss),
        "auroc": float(roc_auc_score(rows.test_y, stated)),
        "cut": float(np.mean(cut != stated)),
        "finds": int(fitted.found.sum()),
        "true_finds": None if rows.signal is None else int(fitted.found[rows.signal].sum()),
        "false_finds": None if rows.signal is None else int(fitted.found[~rows.signal].sum()),
        "largest_r_hat": fitted.r_hat,
        "details": dict(fitted.details),
    }


PRESETS = {
    # Only what comes with the `test` extra and without data.
    "smoke": Logistic(
        preset="smoke", methods=("truth", "ridge"), designs=("few", "null"), tasks=(), data_sets=1
    ),
    "cpu": Logistic(preset="cpu", data_sets=5),
    "paper": Logistic(preset="paper"),
}

main = functools.partial(harness.main, NAME, PRESETS, description=DESCRIPTION)
