# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression(X, y)`, nothing set but the key."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import numpy as np

import aeb
from benchmarks.regression.estimate import Estimate

__all__ = ["defaults", "fit"]


def defaults() -> dict[str, Any]:
    """Tell the defaults, so that rows made with others do not pass for these."""
    options = inspect.signature(aeb.regression).parameters.values()
    return {
        option.name: option.default
        for option in options
        if option.default is not option.empty and option.name not in ("names", "key")
    }


def fit(x: np.ndarray, y: np.ndarray, *, key: int) -> Estimate:
    """Sample; found is an inclusion probability above 0.5. Key 0 is the default one."""
    result = aeb.regression(x, y, key=jax.random.key(key))
    details = {"sigma": result.sigma, "delta": result.delta, "v1": result.v1}
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
