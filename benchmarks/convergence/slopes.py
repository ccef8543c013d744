# SPDX-License-Identifier: Apache-2.0
"""Slopes of log-log lines, with intervals.

The slope of an error against the gain is that of least squares through log mean over chains of
|theta_k - theta*|^2 on log omega_k. One chain's errors at different k depend on each other, so the
interval is a percentile bootstrap over whole chains.

The slope of a bias against the step size is that of weighted least squares through log |bias|, each
point weighted by (bias / its standard error)^2, the inverse variance of its logarithm. Step sizes
have chains of their own, so its standard error is that of the weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Slope", "bias_slope", "error_slope"]

RESAMPLES = 2000
"""Bootstrap samples of the chains."""

Z95 = 1.959964
"""Standard errors from the middle of a 95 % interval to its end."""


class Slope(NamedTuple):
    """A slope and its 95 % interval."""

    estimate: float
    low: float
    high: float


def error_slope(errors: np.ndarray, gains: np.ndarray, rng: np.random.Generator) -> Slope:
    """Slope of the log of the mean error on the log of the gain.

    Args:
        errors: f64[C, K], squared error of each chain at each gain, positive.
        gains: f64[K], at least two that differ.
        rng: for the bootstrap.

    Returns:
        The slope; its interval is of chains drawn with replacement.
    """
    chains = len(errors)
    counts = rng.multinomial(chains, np.full(chains, 1.0 / chains), size=RESAMPLES)
    resampled = _slope(np.log(gains), np.log(counts @ errors / chains))
    low, high = np.quantile(resampled, [0.025, 0.975])
    estimate = _slope(np.log(gains), np.log(errors.mean(axis=0)))
    return Slope(float(estimate), float(low), float(high))


def bias_slope(biases: np.ndarray, errors: np.ndarray, step_sizes: np.ndarray) -> Slope:
    """Slope of log |bias| on the log of the step size.

    Args:
        biases: f64[K], none of them 0.
        errors: f64[K], their standard errors, positive.
        step_sizes: f64[K], at least two that differ.

    Returns:
        The slope; its interval takes the errors for small beside the biases.
    """
    x, weights = np.log(step_sizes), np.square(biases / errors)
    x = x - np.average(x, weights=weights)
    spread = np.sum(weights * np.square(x))
    estimate = float(np.sum(weights * x * np.log(np.abs(biases))) / spread)
    half = Z95 * float(spread**-0.5)
    return Slope(estimate, estimate - half, estimate + half)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slopes along the last axis of y."""
    centred = x - x.mean()
    return y @ centred / np.sum(np.square(centred))
