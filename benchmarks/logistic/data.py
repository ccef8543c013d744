# SPDX-License-Identifier: Apache-2.0
"""Rows of two classes, to fit and to predict: five designs, and two real data sets in ten folds.

    P(y = 1) = 1 / (1 + exp(-x beta))

The columns and beta of a design are drawn as in `benchmarks.selection.designs`, all with 200 rows
to fit and 200 columns, and as many as `FRESH` rows to predict. There the true probabilities are
known too. The real data come with scikit-learn:

    breast cancer   569 tumours, 30 measures of their cells
    3 or 8          357 images of the digits 3 and 8, 64 pixels
"""

import functools
import zlib
from typing import Any, NamedTuple

import numpy as np

from benchmarks.selection.designs import Design, coefficients, columns

FRESH = 2000
"""Rows of a design to predict."""

FOLDS = 10

DESIGNS: dict[str, Design] = {
    "few": Design(200, 200, signals=(1.5, -1.5, 1.0)),
    "many": Design(200, 200, "ar", 0.6, signals=6 * (1.0, -1.0), place="random"),
    "blocks": Design(200, 200, "blocks", 0.9, signals=(2.0, -2.0, 1.5, -1.5)),
    "dense": Design(200, 200, others=0.15),
    "null": Design(200, 200),
}

TASKS = ("breast cancer", "3 or 8")


class Rows(NamedTuple):
    """Rows to fit and rows to predict."""

    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n], 0 or 1
    test_x: np.ndarray  # f64[m, p]
    test_y: np.ndarray  # f64[m]
    probability: np.ndarray | None = None  # f64[m], the true one of test_y = 1
    signal: np.ndarray | None = None  # bool[p]


def told(name: str) -> dict[str, Any] | None:
    """Return what fixes a design, as JSON can hold it; None for real data."""
    if name not in DESIGNS:
        return None
    design = DESIGNS[name]._asdict()
    del design["noise"], design["noise_variance"]
    return design


def draw(name: str, seed: int) -> Rows:
    """Draw a data set of one of `DESIGNS`; each draws its own numbers from a seed."""
    design = DESIGNS[name]
    n = design.num_rows
    rng = np.random.default_rng([zlib.crc32(f"logistic, {name}".encode()), seed])
    x, _ = columns(design._replace(num_rows=n + FRESH), rng)
    beta, signal = coefficients(design, rng)
    probability = 1.0 / (1.0 + np.exp(-x @ beta))
    y = (rng.random(len(x)) < probability).astype(np.float64)
    return Rows(x[:n], y[:n], x[n:], y[n:], probability[n:], signal)


@functools.lru_cache(maxsize=len(TASKS))
def _read(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_breast_cancer, load_digits

    if name == "breast cancer":
        x, y = load_breast_cancer(return_X_y=True)
        return x, y.astype(np.float64)
    x, digit = load_digits(return_X_y=True)
    rows = (digit == 3) | (digit == 8)
    return x[rows], (digit[rows] == 8).astype(np.float64)


def fold(name: str, number: int) -> Rows:
    """Cut one of the ten folds out; a column that is constant in the others is left out.

    Each fold has its share of both classes.
    """
    from sklearn.model_selection import StratifiedKFold

    x, y = _read(name)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y)
    train, test = list(folds)[number]
    varies = np.ptp(x[train], axis=0) > 0
    x = x[:, varies]
    return Rows(x[train], y[train], x[test], y[test])
