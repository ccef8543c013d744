# SPDX-License-Identifier: Apache-2.0
"""What a row says of an estimate: errors, discoveries, intervals."""

from typing import Any

import numpy as np

from benchmarks.regression.methods import Estimate
from benchmarks.simulation.design import DataSet, Design, errors, interval_scores, population_mse

__all__ = ["LEAST_INCLUSION", "score"]

LEAST_INCLUSION = 0.002
"""Inclusion probabilities below it are left out of the row."""


def score(design: Design, data: DataSet, estimate: Estimate) -> dict[str, Any]:
    """Score an estimate.

    `population_mse` is that of the prediction, intercept included, whose mean over rows of mean 0
    adds its square to the error of the coefficients; the truth has none.
    """
    count = len(design.signals)
    beta = np.asarray(data.beta, np.float64)
    of_coefficients = population_mse(design, beta, estimate.coefficients)
    found, inclusion = estimate.found, estimate.inclusion
    return {
        "population_mse": of_coefficients + estimate.intercept**2,
        "population_mse_of_coefficients": of_coefficients,
        "fresh": errors(
            data._replace(fresh_y=data.fresh_y - estimate.intercept), estimate.coefficients
        ),
        "fresh_with_true_beta": errors(data, beta),
        "intercept": estimate.intercept,
        "non_zero": int(np.count_nonzero(estimate.coefficients)),
        "true_discoveries": int(found[:count].sum()),
        "false_discoveries": int(found[count:].sum()),
        "beta": [
            {
                "true": float(beta[j]),
                "estimate": float(estimate.coefficients[j]),
                "found": bool(found[j]),
                "inclusion": None if inclusion is None else float(inclusion[j]),
                "intervals": {kind: ends[j].tolist() for kind, ends in estimate.intervals.items()},
            }
            for j in range(count)
        ],
        "intervals": {
            kind: interval_scores(beta, *ends.T, count=count)
            for kind, ends in estimate.intervals.items()
        },
        "inclusion": None if inclusion is None else _worth_telling(inclusion),
        "largest_r_hat": estimate.r_hat,
        "details": dict(estimate.details),
    }


def _worth_telling(inclusion: np.ndarray) -> list[tuple[int, float]]:
    """List pairs of column and probability, to four digits."""
    places = np.flatnonzero(inclusion >= LEAST_INCLUSION)
    return [(int(j), round(float(inclusion[j]), 4)) for j in places]
