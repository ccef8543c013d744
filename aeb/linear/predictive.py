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
variance is E var(y | s) + var mu_s. Its quantiles are the roots of F, found without drawing noise:

    g(y) = ndtri(F(y)) - ndtri(tail),    y' = y - g(y) / slope

The slope is that of the last two points, at first 1 / spread. On the scale of `ndtri`, F is nearly
a straight line, so four or five points are enough. The root is kept between the last y below it and
the last above it. A step that leaves this bracket, or does not shrink, is replaced by one to its
middle. A binomial y is 0 or 1, so its quantiles would not be informative. For this family, spread
and quantiles are those of the probability mu_s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Posterior", "mean", "quantiles", "standard_deviation"]

MOST = 2**19
"""The largest size of an array [rows, draws] that is held at once, so that it fits into a cache."""

PRECISE = 1e-6
"""A step of this times the smallest sigma is the last. The error that it leaves is far smaller."""

MOST_LOG = 230.0
"""The largest log of an expected count, 1e100. From 1e150 on its square overflows."""

MOST_STEPS = 500
"""The largest number of steps to a quantile. Every second one halves the bracket at least."""


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
            parts.append(np.stack([_quantile(posterior, mu, tail) for tail in tails], axis=1))
    return np.concatenate(parts)


def _rows(posterior: Posterior, x: np.ndarray, offset: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the linear predictors for a few rows at a time, f64[rows, S]."""
    # With a spike at 0, most columns are 0 in every draw.
    used = np.flatnonzero(posterior.beta.any(axis=0))
    beta = posterior.beta[:, used].astype(np.float64).T
    size = max(1, MOST // len(posterior.beta))
    for start in range(0, max(len(x), 1), size):
        rows = slice(start, start + size)
        eta = np.matmul(x[rows, used], beta) + posterior.intercept + offset[rows, None]
        if posterior.family == "negative_binomial":
            _check_counts(eta, start)
        yield eta


def _check_counts(eta: np.ndarray, start: int) -> None:
    """Refuse rows, the first of them number `start`, whose expected count would overflow."""
    most = eta.max(axis=1, initial=-np.inf)
    far = np.flatnonzero(most > MOST_LOG)
    if len(far):
        more = f" (and {len(far) - 1} more)" * (len(far) > 1)
        raise ValueError(
            f"x: row {start + far[0]}{more} is too far from the rows of the fit: its expected "
            f"count is up to exp({most[far[0]]:.0f}), which overflows; look at the units of x and "
            "the offset, or leave such rows out"
        )


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


def _reached(posterior: Posterior, mu: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return F(y), f64[rows]."""
    from scipy import special

    if posterior.family == "gaussian":
        return special.ndtr((y[:, None] - mu) / posterior.sigma).mean(axis=1)
    if posterior.family == "student_t":
        return special.stdtr(posterior.freedom, (y[:, None] - mu) / posterior.sigma).mean(axis=1)
    # P(Y <= y) is the incomplete beta function at (r, y + 1).
    r = posterior.concentration
    return special.betainc(r, y[:, None] + 1.0, r / (r + mu)).mean(axis=1)


def _quantile(posterior: Posterior, mu: np.ndarray, tail: float) -> np.ndarray:
    """Find the least y with F(y) >= tail, f64[rows]; of counts the least whole number."""
    from scipy.special import ndtri

    counts = posterior.family == "negative_binomial"
    goal, middle, spread = ndtri(tail), mu.mean(axis=1), _spread(posterior, mu)
    low, high = np.full_like(middle, -1.0 if counts else -np.inf), np.full_like(middle, np.inf)
    y = middle + goal * spread
    y = np.maximum(np.round(y), 0.0) if counts else y
    before, g_before = np.full_like(y, np.nan), np.full_like(y, np.nan)
    last = np.full((2, len(y)), np.inf)  # the lengths of the last two steps
    at = np.arange(len(y))  # rows whose root is still sought
    for _ in range(MOST_STEPS):
        here = y[at]
        share = _reached(posterior, mu[at], here)
        g = ndtri(share) - goal
        low[at] = np.where(share < tail, here, low[at])
        high[at] = np.where(share >= tail, here, high[at])
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = (g - g_before[at]) / (here - before[at])
            slope = np.where((slope > 0.0) & (slope < np.inf), slope, 1.0 / spread[at])
            new = here - g / slope
        bottom, top = low[at], high[at]
        if counts:
            # Two neighbours. Of very large numbers, those that agree in their leading digits.
            gap = np.maximum(1.0, 1e-12 * here)
            new = np.clip(np.round(new), bottom + gap, np.maximum(bottom + gap, top - gap))
            done = top - bottom <= gap
        else:
            precise = PRECISE * posterior.sigma.min() + 4.0 * np.spacing(np.abs(here))
            done = (np.abs(new - here) <= precise) | (top - bottom <= precise)
        closed = np.isfinite(bottom) & np.isfinite(top)
        with np.errstate(invalid="ignore"):
            strays = ~((bottom < new) & (new < top)) | (2.0 * np.abs(new - here) > last[0, at])
            inner = 0.5 * (bottom + top)
        away = 2.0 * np.maximum(np.abs(here - middle[at]), spread[at])
        outer = np.where(share < tail, here + away, here - away)
        new = np.where(done | ~strays, new, np.where(closed, inner, outer))
        if counts:
            new = np.where(done, top, np.floor(new))
        last[:, at] = last[1, at], np.abs(new - here)
        before[at], g_before[at], y[at] = here, g, new
        at = at[~done]
        if not len(at):
            break
    return y


def _spread(posterior: Posterior, mu: np.ndarray) -> np.ndarray:
    """Return about how wide F is, f64[rows], finite and positive."""
    if posterior.family == "student_t":
        within = np.square(posterior.sigma).mean()
    else:
        within = np.broadcast_to(_variance(posterior, mu), mu.shape).mean(axis=1)
    return np.sqrt(within + mu.var(axis=1))
