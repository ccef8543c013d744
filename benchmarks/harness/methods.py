# SPDX-License-Identifier: Apache-2.0
"""What every method returns, and those without settings: least squares, lasso, `aeb.regression`.

Whatever a method does inside, its estimate is in the units of the data it was given.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import aeb


class Estimate(NamedTuple):
    """A fitted regression with p coefficients."""

    intercept: float
    coefficients: np.ndarray  # f64[p]
    found: np.ndarray  # bool[p]: the columns that it takes to matter
    details: Mapping[str, Any]  # what else its row says
    intervals: Mapping[str, np.ndarray] = {}  # f64[p, 2] by kind
    inclusion: np.ndarray | None = None  # f64[p]
    r_hat: float | None = None  # the largest


NOT_TOLD = (
    *("names", "key", "v0"),
    *("family", "weights", "repeats", "offset", "always", "expected_size", "inclusion_odds"),
    *("groups", "requires", "heredity"),
    *("freedom", "concentration"),
)
"""Arguments of `aeb.regression` that are no setting, or that `ours` sets."""


class Columns(NamedTuple):
    """Columns of mean 0 and variance 1, a centred y, and the way back."""

    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    scale: np.ndarray  # f64[p]: of the columns before
    intercept: Callable[[np.ndarray], float]  # from coefficients in the units of the data

    def back(self, beta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return intercept and coefficients in the units of the data."""
        coefficients = beta / self.scale
        return self.intercept(coefficients), coefficients


def standardise(x: np.ndarray, y: np.ndarray) -> Columns:
    """Centre x and y, and scale the columns of x; a constant one, as in a fold, becomes zeros."""
    mean, scale, centre = x.mean(axis=0), x.std(axis=0), float(y.mean())
    scale = np.where(scale > 0, scale, 1.0)
    return Columns((x - mean) / scale, y - y.mean(), scale, lambda b: float(centre - mean @ b))


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


def ours(x: np.ndarray, y: np.ndarray, *, key: int, v0: float | None = None) -> Estimate:
    """Sample by `aeb.regression`, nothing set but the key, of which 0 is the default, and v0.

    Found is an inclusion probability above 0.5.

    Args:
        x: f64[n, p].
        y: f64[n].
        key: of the sampler.
        v0: None learns the width of the spike, as is the default; 0 has a point in its place.
    """
    result = aeb.regression(x, y, v0=v0, key=jax.random.key(key))
    details = {"sigma": result.sigma, "delta": result.delta, "v1": result.v1, "v0": result.v0}
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


def defaults(v0: float | None = None) -> dict[str, Any]:
    """Return the settings of `ours`: rows made with others are other rows.

    What has been added since the first rows, and is left at what it then was, is not told: so v0,
    where it is 0.
    """
    options = inspect.signature(aeb.regression).parameters.values()
    told = {
        option.name: option.default
        for option in options
        if option.default is not option.empty and option.name not in NOT_TOLD
    }
    return told if v0 == 0 else told | {"v0": v0}
