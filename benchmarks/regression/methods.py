# SPDX-License-Identifier: Apache-2.0
"""The methods that have no settings: least squares, the lasso, and `aeb.regression`."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import numpy as np

import aeb
from benchmarks.regression.estimate import Estimate

__all__ = ["defaults", "lasso", "least_squares", "ours"]


def least_squares(x: np.ndarray, y: np.ndarray, *, count: int) -> Estimate:
    """Fit the first `count` columns, by one who knows that these matter, and without intercept."""
    found = np.arange(x.shape[1]) < count
    coefficients = np.zeros(x.shape[1])
    coefficients[:count] = np.linalg.lstsq(x[:, :count], y)[0]
    return Estimate(0.0, coefficients, found, {})


def lasso(x: np.ndarray, y: np.ndarray, *, folds: int) -> Estimate:
    """Fit scikit-learn's lasso by cross-validation; found is what is not 0."""
    from sklearn.linear_model import LassoCV

    model = LassoCV(cv=folds).fit(x, y)
    coefficients = np.asarray(model.coef_, np.float64)
    details = {
        "penalty": float(model.alpha_),
        "last_of_path": bool(model.alpha_ == model.alphas_[-1]),
    }
    return Estimate(float(model.intercept_), coefficients, coefficients != 0, details)


def ours(x: np.ndarray, y: np.ndarray, *, key: int) -> Estimate:
    """Sample by `aeb.regression`, nothing set but the key, of which 0 is the default.

    Found is an inclusion probability above 0.5.
    """
    result = aeb.regression(x, y, key=jax.random.key(key))
    details = {"sigma": result.sigma, "delta": result.delta, "v1": result.v1}
    return Estimate(
        intercept=result.intercept,
        coefficients=result.coefficients,
        found=result.inclusion > 0.5,
        details=details,
        intervals={
            "averaged": result.interval_averaged,
            "if included": result.interval_if_included,
        },
        inclusion=result.inclusion,
        r_hat=result.largest_r_hat,
    )


def defaults() -> dict[str, Any]:
    """Tell the defaults of `aeb.regression`: rows made with others are other rows."""
    options = inspect.signature(aeb.regression).parameters.values()
    return {
        option.name: option.default
        for option in options
        if option.default is not option.empty and option.name not in ("names", "key")
    }
