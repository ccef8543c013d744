# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's `LassoCV`, all as it comes but for the number of folds."""

from __future__ import annotations

import numpy as np

from benchmarks.regression.estimate import Estimate

__all__ = ["fit"]


def fit(x: np.ndarray, y: np.ndarray, *, folds: int) -> Estimate:
    """Fit by cross-validation; found is what is not 0."""
    from sklearn.linear_model import LassoCV

    model = LassoCV(cv=folds).fit(x, y)
    coefficients = np.asarray(model.coef_, np.float64)
    details = {
        "penalty": float(model.alpha_),
        "last_of_path": bool(model.alpha_ == model.alphas_[-1]),
    }
    return Estimate(float(model.intercept_), coefficients, coefficients != 0, details)
