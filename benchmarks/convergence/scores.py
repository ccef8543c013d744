# SPDX-License-Identifier: Apache-2.0
"""What a run of many chains says of the two theorems: metrics of its row, and slopes.

Slopes are of log-log lines, with intervals.

The slope of an error against the gain is that of least squares through log mean over chains of
|theta_k - theta*|^2 on log omega_k. One chain's errors at different k depend on each other, so the
interval is a percentile bootstrap over whole chains.

The slope of a bias against the step size is that of weighted least squares through log |bias|, each
point weighted by (bias / its standard error)^2, the inverse variance of its logarithm. Each step
size has other chains, so its standard error is that of the weights.
"""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.convergence.law import mean_of_functions
from benchmarks.convergence.mean_field import Prediction, limit_factor, predict
from benchmarks.convergence.recipe import Gain, TwoMeans, from_vector

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
    """Fit the slope of the log of the mean error on the log of the gain.

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
    """Fit the slope of log |bias| on the log of the step size.

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


def score_latents(
    prediction: Prediction,
    gain: Gain,
    first: np.ndarray,
    readings: np.ndarray,
    errors: np.ndarray,
    tail: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Score the latents.

    Args:
        prediction: theta*, J and S.
        gain: omega; a reading after k steps is set against the last gain used, that of k - 1.
        first: f64[8], theta_0.
        readings: i64[K], the steps taken at each reading, rising.
        errors: f64[C, K], squared distance of each chain to theta*.
        tail: share of the steps to begin the slope at.
        rng: for the bootstrap.
    """
    gains = gain.at(readings - 1)
    late = readings >= tail * readings[-1]
    linear = predict(prediction, gain, first, readings)
    means = errors.mean(axis=0)
    return {
        "step": readings,
        "gain": gains,
        "error": means,
        "error_se": errors.std(axis=0, ddof=1) / len(errors) ** 0.5,
        "linear_theory": linear,
        "slope": error_slope(errors[:, late], gains[late], rng)._asdict(),
        "slope_of_linear_theory": np.polyfit(np.log(gains[late]), np.log(linear[late]), 1)[0],
        "stability": prediction.stability,
        "factor": np.mean(means[late] / gains[late]),
        "largest_late_factor": np.max(means[late] / gains[late]),
        "factor_in_the_limit": limit_factor(prediction, gain),
    }


def score_coefficients(
    problem: TwoMeans,
    step_size: float,
    prediction: Prediction,
    limit: np.ndarray,
    means: np.ndarray,
) -> dict[str, np.ndarray]:
    """Score the coefficients.

    Args:
        problem: what is fitted.
        step_size: eps.
        prediction: theta* at this step size.
        limit: f64[8], theta* of the diffusion.
        means: f64[C, 2, 4], test functions averaged over the steps of each chain.

    Returns:
        f64[2, 4] each, coefficient by test function.
    """
    truth = mean_of_functions(problem, from_vector(limit), 0.0)
    exact = mean_of_functions(problem, from_vector(prediction.theta), step_size)
    return {
        "truth": truth,
        "bias": means.mean(axis=0) - truth,
        "bias_se": means.std(axis=0, ddof=1) / len(means) ** 0.5,
        "bias_by_quadrature": exact - truth,
    }


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slopes along the last axis of y."""
    centred = x - x.mean()
    return y @ centred / np.sum(np.square(centred))
