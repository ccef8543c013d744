# SPDX-License-Identifier: Apache-2.0
"""What a row says of an estimate: error, finds, calibration, coverage."""

from typing import Any

import numpy as np

from benchmarks.harness.methods import Estimate
from benchmarks.selection.designs import DataSet, Design
from benchmarks.selection.real import Fold

BINS = 10
"""Bins of inclusion probabilities, of equal width."""


def of_truth(design: Design, data: DataSet, estimate: Estimate) -> dict[str, Any]:
    """Score an estimate where the truth is known.

    Calibration asks whether columns with an inclusion probability of q are signals q of the time;
    in a dense design every column matters a little, and there is nothing to ask.
    """
    signal, inclusion = data.signal, estimate.inclusion
    covered = {
        kind: {
            "signals": _inside(data.beta, ends, signal),
            "others": _inside(data.beta, ends, ~signal),
        }
        for kind, ends in estimate.intervals.items()
    }
    asked = None if design.others else inclusion
    return {
        "error": data.error(estimate.intercept, estimate.coefficients),
        "signals": int(signal.sum()),
        "true_finds": int(estimate.found[signal].sum()),
        "false_finds": int(estimate.found[~signal].sum()),
        "calibration": None if asked is None else calibration(asked, signal),
        "covered": covered,
        "largest_r_hat": estimate.r_hat,
        "details": dict(estimate.details),
    }


def of_fold(fold: Fold, estimate: Estimate) -> dict[str, Any]:
    """Score an estimate on rows held out."""
    predicted = estimate.intercept + fold.test_x @ estimate.coefficients
    return {
        "squared_error": float(np.mean((fold.test_y - predicted) ** 2)),
        "relative_error": float(np.mean((fold.test_y - predicted) ** 2)) / fold.variance,
        "rows": len(fold.test_y),
        "finds": int(estimate.found.sum()),
        "largest_r_hat": estimate.r_hat,
        "details": dict(estimate.details),
    }


def calibration(inclusion: np.ndarray, signal: np.ndarray) -> list[tuple[int, float, int]]:
    """Count by bin of the inclusion probability.

    Args:
        inclusion: f64[p].
        signal: bool[p].

    Returns:
        For each bin, from 0 to 1: how many columns, the sum of their probabilities, and how many
        of them are signals.

    Example:
        >>> calibration(np.array([0.02, 0.97, 0.93]), np.array([False, True, False]))[-1]
        (2, 1.9, 1)
    """
    places = np.minimum((inclusion * BINS).astype(int), BINS - 1)
    return [
        (
            int(np.sum(places == b)),
            float(inclusion[places == b].sum()),
            int(signal[places == b].sum()),
        )
        for b in range(BINS)
    ]


def _inside(beta: np.ndarray, ends: np.ndarray, which: np.ndarray) -> tuple[int, int]:
    """Count the coefficients inside their intervals, and how many there are."""
    inside = (ends[:, 0] <= beta) & (beta <= ends[:, 1])
    return int(inside[which].sum()), int(which.sum())
