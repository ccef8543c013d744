# SPDX-License-Identifier: Apache-2.0
"""Compute the mean, spread and quantiles of a new y, averaged over the posterior draws.

Draw s of the coefficients gives row x the linear predictor eta_s = offset + intercept_s + x'beta_s.
Given s, a new y has mean mu_s and

    gaussian             N(mu_s, sigma_s^2),              mu_s = eta_s
    student_t            mu_s + sigma_s t(nu_s),          mu_s = eta_s
    negative_binomial    of mean mu_s and variance        mu_s = exp(eta_s)
                         mu_s + mu_s^2 / r_s
    binomial             1 with probability mu_s          mu_s = 1 / (1 + exp(-eta_s))

Its posterior predictive distribution is the mean of these over s, F(y) = mean_s F_s(y). Its
variance is E var(y | s) + var mu_s. Its quantiles are found by bisection of F, without drawing
noise. A binomial y is 0 or 1, so its quantiles would not be informative. For this family, spread
and quantiles are those of the probability mu_s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Posterior", "mean", "quantiles", "standard_deviation"]

MOST = 2**21
"""The largest size of an array [rows, draws] that is held at once."""

HALVINGS = 60
"""The number of bisections, after which an interval is as short as rounding allows."""


class Posterior(NamedTuple):
    """The draws that a prediction needs; the last three are empty unless the family has them."""

    family: str
    beta: np.ndarray  # f32[S, p]
    intercept: np.ndarray  # f64[S]
    sigma: np.ndarray  # f64[S]
    freedom: np.ndarray  # f64[S]
    concentration: np.ndarray  # f64[S]


def mean(posterior: Posterior, x: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return the predictive mean of each row, f64[rows].

    Args:
        posterior: the draws.
        x: f64[rows, p].
        offset: f64[rows], added to the linear predictor.
    """
    return np.concatenate(
        [_mean(posterior, eta).mean(axis=1) for eta in _rows(posterior, x, offset)]
    )


def standard_deviation(posterior: Posterior, x: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return the predictive standard deviation of each row, f64[rows]; inf if it does not exist."""
    parts = []
    for eta in _rows(posterior, x, offset):
        mu = _mean(posterior, eta)
        parts.append(np.sqrt(_variance(posterior, mu).mean(axis=1) + mu.var(axis=1)))
    return np.concatenate(parts)


def quantiles(
    posterior: Posterior, x: np.ndarray, offset: np.ndarray, tails: tuple[float, ...]
) -> np.ndarray:
    """Return predictive quantiles, f64[rows, tails].

    Args:
        posterior: the draws.
        x: f64[rows, p].
        offset: f64[rows], added to the linear predictor.
        tails: probabilities, each in (0, 1).
    """
    parts = []
    for eta in _rows(posterior, x, offset):
        mu = _mean(posterior, eta)
        if posterior.family == "binomial":
            parts.append(np.quantile(mu, tails, axis=1).T)
        else:
            quantiles = [
                _quantile(_distribution(posterior, mu), mu.mean(axis=1), tail) for tail in tails
            ]
            parts.append(np.stack(quantiles, axis=1))
    found = np.concatenate(parts)
    # Counts are whole numbers: take the least count at which F reaches the probability.
    # The 0.0 turns -0 into 0.
    return np.ceil(found - 1e-9) + 0.0 if posterior.family == "negative_binomial" else found


def _rows(posterior: Posterior, x: np.ndarray, offset: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the linear predictors for a few rows at a time, f64[rows, S]."""
    # With a spike at 0, most columns are 0 in every draw.
    used = np.flatnonzero(posterior.beta.any(axis=0))
    beta = posterior.beta[:, used].astype(np.float64).T
    size = max(1, MOST // len(posterior.beta))
    for start in range(0, max(len(x), 1), size):
        rows = slice(start, start + size)
        yield np.matmul(x[rows, used], beta) + posterior.intercept + offset[rows, None]


def _mean(posterior: Posterior, eta: np.ndarray) -> np.ndarray:
    if posterior.family == "binomial":
        from scipy.special import expit

        return expit(eta)
    return np.exp(eta) if posterior.family == "negative_binomial" else eta


def _variance(posterior: Posterior, mu: np.ndarray) -> np.ndarray:
    """Return var(y | s), shaped to broadcast with f64[rows, S]; 0 for a binomial y."""
    if posterior.family == "binomial":
        return np.zeros((1, 1))
    if posterior.family == "negative_binomial":
        return mu + mu**2 / posterior.concentration
    variance = posterior.sigma**2
    if posterior.family == "student_t":
        nu = posterior.freedom
        with np.errstate(divide="ignore"):
            variance = np.where(nu > 2, variance * nu / np.maximum(nu - 2, 0), np.inf)
    return variance[None]


def _distribution(posterior: Posterior, mu: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return F, from f64[rows] to f64[rows]."""
    from scipy import special

    def gaussian(y: np.ndarray) -> np.ndarray:
        return special.ndtr((y[:, None] - mu) / posterior.sigma).mean(axis=1)

    def student_t(y: np.ndarray) -> np.ndarray:
        return special.stdtr(posterior.freedom, (y[:, None] - mu) / posterior.sigma).mean(axis=1)

    def negative_binomial(y: np.ndarray) -> np.ndarray:
        # P(Y <= y) is the incomplete beta function at (r, y + 1). It also rises between whole y.
        r = posterior.concentration
        within = np.maximum(y[:, None] + 1.0, 1e-300)
        return np.where(y < 0, 0.0, special.betainc(r, within, r / (r + mu)).mean(axis=1))

    return {
        "gaussian": gaussian,
        "student_t": student_t,
        "negative_binomial": negative_binomial,
    }[posterior.family]


def _quantile(
    distribution: Callable[[np.ndarray], np.ndarray], middle: np.ndarray, tail: float
) -> np.ndarray:
    """Find the least y with F(y) >= tail, f64[rows]."""
    width = np.maximum(1e-6, np.abs(middle))
    low, high = middle - width, middle + width
    for _ in range(1000):
        beneath, above = distribution(low) >= tail, distribution(high) < tail
        if not (beneath.any() or above.any()):
            break
        width = 2.0 * width
        low = np.where(beneath, middle - width, low)
        high = np.where(above, middle + width, high)
    for _ in range(HALVINGS):
        half = 0.5 * (low + high)
        reached = distribution(half) >= tail
        low, high = np.where(reached, low, half), np.where(reached, half, high)
    return high
