# SPDX-License-Identifier: Apache-2.0
"""What every rival returns, in the units of the data it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Columns", "Estimate", "standardise"]


class Estimate(NamedTuple):
    """A fitted regression with p coefficients."""

    intercept: float
    coefficients: np.ndarray  # f64[p]
    found: np.ndarray  # bool[p]: the columns that it takes to matter
    details: Mapping[str, Any]  # what else its row says
    intervals: Mapping[str, np.ndarray] = {}  # f64[p, 2] by kind
    inclusion: np.ndarray | None = None  # f64[p]
    r_hat: float | None = None  # the largest


class Columns(NamedTuple):
    """Columns of mean 0 and variance 1, a centred y, and the way back."""

    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    x_mean: np.ndarray  # f64[p]
    x_scale: np.ndarray  # f64[p]
    y_mean: float

    def back(self, beta: np.ndarray) -> tuple[float, np.ndarray]:
        """Tell intercept and coefficients in the units of the data."""
        coefficients = beta / self.x_scale
        return float(self.y_mean - self.x_mean @ coefficients), coefficients


def standardise(x: np.ndarray, y: np.ndarray) -> Columns:
    """Centre x and y, and scale the columns of x."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    return Columns((x - mean) / scale, y - y.mean(), mean, scale, float(y.mean()))
