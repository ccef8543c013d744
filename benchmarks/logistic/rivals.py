# SPDX-License-Identifier: Apache-2.0
"""The methods: each gives the probability of class 1 in the rows to predict.

    truth         the true probabilities, where the design is known: the floor
    ridge, l1     scikit-learn's LogisticRegressionCV, standardised columns, its penalty by 10-fold
    elastic net   cross-validation over stratified folds, least log loss
    abess         best subset by splicing, its size by EBIC (the package's default), or by 10-fold
    abess, folds  cross-validation
    aeb           aeb.regression(X, y, family="binomial"), nothing set

The intercept has no penalty. Found is a coefficient that is not 0, or an inclusion probability
above 0.5; ridge keeps every column.
"""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import aeb
from benchmarks.harness import methods
from benchmarks.harness.comparison import Way
from benchmarks.logistic.data import Rows

INNER_FOLDS = 10
"""Of the cross-validation inside a method; `data.FOLDS` are those it is judged by."""

STRENGTHS = np.geomspace(1e-4, 1e3, 29)
"""Inverse penalties C of the log likelihood summed over the rows, for standardised columns."""

SPARSE = STRENGTHS[8:]
"""Those of a penalty with a share of l1: below, no coefficient is left."""

RATIOS = (0.1, 0.5, 0.9)
"""Shares of the l1 penalty in the elastic net."""

TOLERANCE = 1e-3
"""Of scikit-learn's solver for l1, relative; ten times its default, which takes five times as long
for the same penalty."""


class Fitted(NamedTuple):
    """What a method says."""

    probability: np.ndarray  # f64[m], of class 1 in the rows to predict
    found: np.ndarray  # bool[p]: the columns that it takes to matter
    details: Mapping[str, Any]  # what else its row says
    r_hat: float | None = None  # the largest


def _truth(rows: Rows) -> Fitted:
    if rows.probability is None or rows.signal is None:
        raise ValueError("truth: nobody knows it for real data; leave it out of their methods")
    return Fitted(rows.probability, rows.signal, {})


def _penalised(
    rows: Rows, ratios: tuple[float, ...], strengths: np.ndarray, **options: Any
) -> Fitted:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegressionCV

    mean, scale = rows.x.mean(axis=0), rows.x.std(axis=0)
    model = LogisticRegressionCV(
        Cs=strengths,
        l1_ratios=ratios,
        cv=INNER_FOLDS,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        max_iter=2000,
        **options,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit((rows.x - mean) / scale, rows.y)
    short = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    details = {
        "strength": float(model.C_),
        "ratio": float(model.l1_ratio_),
        "end_of_path": bool(model.C_ in (strengths[0], strengths[-1])),
        "fits_short_of_tolerance": short,
    }
    probability = model.predict_proba((rows.test_x - mean) / scale)[:, 1]
    return Fitted(probability, np.ravel(model.coef_) != 0, details)


def _abess(rows: Rows, folds: int = 1) -> Fitted:
    from abess import LogisticRegression

    model = LogisticRegression(cv=folds).fit(rows.x, rows.y)
    # Not its predict_proba: that overflows where a linear predictor is large.
    eta = np.ravel(model.intercept_)[0] + rows.test_x @ np.ravel(model.coef_)
    return Fitted(0.5 * (1.0 + np.tanh(0.5 * eta)), np.ravel(model.coef_) != 0, {})


def _ours(rows: Rows) -> Fitted:
    fit = aeb.regression(rows.x, rows.y, family="binomial", key=jax.random.key(0))
    details = {"delta": fit.delta, "v1": fit.v1, "v0": fit.v0}
    return Fitted(fit.predict(rows.test_x), fit.inclusion > 0.5, details, fit.largest_r_hat)


SAGA = {"solver": "saga", "tol": TOLERANCE, "random_state": 0}

SKLEARN = ("scikit-learn",)

OF_L1 = {"folds": INNER_FOLDS, "strengths": len(SPARSE)}

METHODS = {
    "truth": Way(_truth),
    "ridge": Way(
        lambda rows: _penalised(rows, (0.0,), STRENGTHS),
        SKLEARN,
        lambda settings, cell: {"folds": INNER_FOLDS, "strengths": len(STRENGTHS)},
    ),
    "l1": Way(
        lambda rows: _penalised(rows, (1.0,), SPARSE, **SAGA),
        SKLEARN,
        lambda settings, cell: {**OF_L1, "tolerance": TOLERANCE},
    ),
    "elastic net": Way(
        lambda rows: _penalised(rows, RATIOS, SPARSE, **SAGA),
        SKLEARN,
        lambda settings, cell: {**OF_L1, "ratios": RATIOS, "tolerance": TOLERANCE},
    ),
    "abess": Way(_abess, ("abess",)),
    "abess, folds": Way(
        lambda rows: _abess(rows, INNER_FOLDS),
        ("abess",),
        lambda settings, cell: {"folds": INNER_FOLDS},
    ),
    "aeb": Way(_ours, options=lambda settings, cell: methods.defaults() | {"family": "binomial"}),
}
