# SPDX-License-Identifier: Apache-2.0
"""What a run of many chains says of the two theorems, as the metrics of its row."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.convergence.law import mean_of_functions
from benchmarks.convergence.mean_field import Prediction, limit_factor, predict
from benchmarks.convergence.problem import Gain, Problem, from_vector
from benchmarks.convergence.slopes import error_slope

__all__ = ["score_coefficients", "score_latents"]


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
    problem: Problem,
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
