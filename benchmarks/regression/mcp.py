# SPDX-License-Identifier: Apache-2.0
"""skglm's minimax concave penalty, its strength by cross-validation.

The columns are standardised, which the penalty asks for, anew in each fold. The path is that of
ncvreg's defaults: evenly spaced in the logarithm from the least penalty that leaves nothing down to
a twentieth of it, each fit started from the one before. The penalty taken is that of the least mean
error over the folds, which are consecutive rows, as for `LassoCV`.
"""

import dataclasses
from typing import Annotated

import numpy as np

from benchmarks.harness.methods import Estimate, standardise
from benchmarks.harness.ranges import Positive, whole, within


@dataclasses.dataclass(frozen=True)
class MCP:
    """Settings of the penalty and of its path."""

    gamma: Annotated[float, within("(1, inf)")] = 3.0  # concavity; the larger, the closer to lasso
    path: Annotated[int, whole(2)] = 100  # penalties on the path
    ratio: Annotated[float, within("(0, 1)")] = 0.05  # the last penalty over the first
    tolerance: Positive = 1e-6  # of each fit, on the violation of its optimality conditions


def fit(x: np.ndarray, y: np.ndarray, *, settings: MCP, folds: int) -> Estimate:
    """Fit by cross-validation; found is what is not 0."""
    from sklearn.model_selection import KFold

    whole = standardise(x, y)
    first = np.abs(whole.x.T @ whole.y).max() / len(y)
    penalties = np.geomspace(first, settings.ratio * first, settings.path)
    errors = np.zeros(settings.path)
    failed = 0
    for train, test in KFold(folds).split(x):
        intercepts, coefficients, lost = _path(x[train], y[train], penalties, settings)
        residual = y[test][:, None] - intercepts - x[test] @ coefficients
        errors += np.square(residual).sum(axis=0) / len(y)
        failed += lost
    best = int(np.argmin(errors))
    # The path down to the penalty taken: it is what the fit there is started from.
    intercepts, path, lost = _path(x, y, penalties[: best + 1], settings)
    coefficients = path[:, -1]
    details = {
        "penalty": float(penalties[best]),
        "last_of_path": best == settings.path - 1,
        "fits_short_of_tolerance": failed + lost,
    }
    return Estimate(float(intercepts[-1]), coefficients, coefficients != 0, details)


def _path(
    x: np.ndarray, y: np.ndarray, penalties: np.ndarray, settings: MCP
) -> tuple[np.ndarray, np.ndarray, int]:
    """Fit along the path: f64[K], f64[p, K], and how many fits fell short of the tolerance."""
    from skglm.estimators import MCPRegression

    data = standardise(x, y)
    model = MCPRegression(gamma=settings.gamma, tol=settings.tolerance, fit_intercept=False)
    _, path, violations, _ = model.path(np.asfortranarray(data.x), data.y, penalties)
    pairs = [data.back(beta) for beta in path.T]
    intercepts, coefficients = (np.array(part) for part in zip(*pairs, strict=True))
    return intercepts, coefficients.T, int(np.sum(violations > settings.tolerance))
