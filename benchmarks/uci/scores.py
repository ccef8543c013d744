# SPDX-License-Identifier: Apache-2.0
"""How good predictions are: error of the last draw and of the average, log-likelihood, coverage.

The predictive density of a row is the mixture over draws s of N(y; f_s(x), tau_s^2).
"""

from typing import Any

import numpy as np
from scipy.special import logsumexp, ndtr

LEVEL = 0.9
"""Level of the central interval whose coverage is told."""


def log_likelihood(predictions: np.ndarray, noise: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute the log of the mixture density at each row.

    Args:
        predictions: f64[K, M], of each draw.
        noise: f64[K], standard deviation of the noise by each draw, > 0.
        y: f64[M].

    Returns:
        f64[M], in nats, for the unit of y.
    """
    scale = noise[:, None]
    terms = -0.5 * np.square((y - predictions) / scale) - np.log(scale)
    return logsumexp(terms, axis=0) - np.log(len(noise)) - 0.5 * np.log(2 * np.pi)


def best_noise(predictions: np.ndarray, y: np.ndarray) -> float:
    """Find the one noise level at which rows that were held out are likeliest.

    Args:
        predictions: f64[K, M], of each draw.
        y: f64[M].

    Returns:
        tau, to 0.1 %; nan where a prediction is not finite.
    """
    if not np.isfinite(predictions).all():
        return float("nan")
    # The mixture is no wider than its components and their spread: tau is at most the typical
    # error of a draw.
    top = np.sqrt(np.mean(np.square(y - predictions))) * 1.05
    low, high = np.log(top) - 6.0, np.log(top)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0

    def badness(log_noise: float) -> float:
        noise = np.full(len(predictions), np.exp(log_noise))
        return -float(log_likelihood(predictions, noise, y).mean())

    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if badness(left) < badness(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def score(predictions: np.ndarray, noise: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Score the predictions of one split.

    Args:
        predictions: f64[K, M], of each draw; those of several chains one after another.
        noise: f64[K], standard deviation of the noise by each draw.
        y: f64[M].

    Returns:
        Metrics by name; nan where a chain left the finite numbers.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        mean = predictions.mean(axis=0)
        place = ndtr((y - predictions) / noise[:, None]).mean(axis=0)
        inside = np.abs(place - 0.5) <= LEVEL / 2
        finite = np.isfinite(place).all()
        return {
            "rmse_last": np.sqrt(np.mean(np.square(predictions[-1] - y))),
            "rmse_average": np.sqrt(np.mean(np.square(mean - y))),
            "log_likelihood": log_likelihood(predictions, noise, y).mean(),
            "coverage": inside.mean() if finite else float("nan"),
            "noise": noise.mean(),
        }
