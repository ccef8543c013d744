# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` with two classes beside its rivals, on designs and on real data.

Every method sees the same rows, and each is set as its users set it (`rivals.py` says how).
Seconds are of fit and prediction, taken as in `benchmarks.regression`.
"""

import dataclasses
import functools
from typing import Annotated, Any

import numpy as np

from benchmarks import harness
from benchmarks.harness.comparison import Cell, Comparison, Job
from benchmarks.harness.ranges import Some, one_of
from benchmarks.logistic import data
from benchmarks.logistic.data import Rows
from benchmarks.logistic.rivals import METHODS, Fitted

LEAST = 1e-6
"""Probabilities are scored as at least this and at most 1 less it: one row that a method was sure
of and wrong about costs at most 13.8."""


@dataclasses.dataclass(frozen=True)
class Logistic(Comparison):
    ways = METHODS

    methods: Some[Annotated[str, one_of(*METHODS)]] = tuple(METHODS)  # what to compare
    designs: tuple[Annotated[str, one_of(*data.DESIGNS)], ...] = tuple(data.DESIGNS)
    tasks: tuple[Annotated[str, one_of(*data.TASKS)], ...] = data.TASKS  # real data

    def cells(self) -> tuple[Cell, ...]:
        chosen = tuple(dict.fromkeys(self.methods))
        return (
            *(Cell(m, name, self.data_sets) for name in self.designs for m in chosen),
            *(Cell(m, name, data.FOLDS) for name in self.tasks for m in chosen if m != "truth"),
        )

    def told(self, task: str) -> dict[str, Any] | None:
        return data.told(task)

    def job(self, cell: Cell, seed: int) -> Job:
        draw = data.fold if cell.task in data.TASKS else data.draw
        rows = draw(cell.task, seed)
        fit = functools.partial(METHODS[cell.method].fit, rows)
        return Job(rows.x.shape, fit, functools.partial(score, rows))


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

NAME, main = harness.script(__name__, __doc__, PRESETS)
