# SPDX-License-Identifier: Apache-2.0
"""Real data, by ten-fold cross-validation; the folds are drawn once and are the same for all.

All rows of riboflavin are fitted as well, by `aeb.regression` with several keys, which should
agree.

riboflavin   production of riboflavin by Bacillus subtilis, 71 cultures, 4,088 gene expressions
             (Buehlmann, Kalisch and Meier, 2014); from `AEB_DATA_DIR`
diabetes     scikit-learn's, 442 patients, ten columns with all squares and products: 64
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.methods import Estimate
from benchmarks.selection.designs import stored

FOLDS = 10

KEYS = "riboflavin, all rows"
"""The task of fitting all of it with several keys."""

SHOWN = 0.005
"""Inclusion probabilities that a row of `KEYS` tells; below, they are taken for 0."""


class Fold(NamedTuple):
    """Rows to fit and rows to predict."""

    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    test_x: np.ndarray  # f64[m, p]
    test_y: np.ndarray  # f64[m]
    variance: float  # of y over all rows


def _riboflavin() -> tuple[np.ndarray, np.ndarray]:
    with np.load(stored("riboflavin.npz")) as arrays:
        return arrays["X"].astype(np.float64), arrays["y"].astype(np.float64)


def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_diabetes
    from sklearn.preprocessing import PolynomialFeatures

    x, y = load_diabetes(return_X_y=True, scaled=False)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    products = PolynomialFeatures(2, include_bias=False).fit_transform(x)
    # The square of a column with two values is a copy of it.
    two_valued = [f"x{j}^2" for j in range(x.shape[1]) if len(np.unique(x[:, j])) == 2]
    names = PolynomialFeatures(2, include_bias=False).fit(x).get_feature_names_out()
    return products[:, ~np.isin(names, two_valued)], y.astype(np.float64)


TASKS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "riboflavin": _riboflavin,
    "diabetes, products": _diabetes,
}
"""Name to what reads X and y."""


def agreement(estimate: Estimate) -> dict[str, Any]:
    """Say of a fit of all rows what fits with other keys are to agree on."""
    if estimate.inclusion is None:
        raise ValueError("five keys are compared by inclusion probabilities; the method has none")
    columns = np.flatnonzero(estimate.inclusion >= SHOWN)
    return {
        "inclusion": {str(j): round(float(estimate.inclusion[j]), 4) for j in columns},
        "finds": int(estimate.found.sum()),
        "largest_r_hat": estimate.r_hat,
        "details": dict(estimate.details),
    }


def fold(name: str, number: int) -> Fold:
    """Cut one of the ten folds out; a column that is constant in the others is left out.

    The rows come in a random order, the same for all, for some rivals cross-validate over
    consecutive rows, and cultures of one batch stand together.
    """
    x, y = TASKS[name]()
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    test = np.arange(len(y)) % FOLDS == number
    varies = np.ptp(x[~test], axis=0) > 0
    x = x[:, varies]
    return Fold(x[~test], y[~test], x[test], y[test], float(y.var()))
