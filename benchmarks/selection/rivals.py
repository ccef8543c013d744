# SPDX-License-Identifier: Apache-2.0
"""The rivals that `benchmarks.regression` does not have, each set as its users set it.

    lasso                scikit-learn's, by 10-fold cross-validation, standardised columns
    ridge                scikit-learn's, its penalty by leaving one out, standardised columns
    elastic net          scikit-learn's, by 10-fold cross-validation, standardised columns
    mcp                  skglm's, as `benchmarks.regression` has it, but with ncvreg's longer path
                         where there are more rows than columns
    ard                  scikit-learn's automatic relevance determination; found is not 0
    abess                best subset by splicing, its size by EBIC (the package's default), or by
                         10-fold cross-validation
    susie                pysusie, a sum of ten single effects, nothing set; so ten finds at most
    millipede            millipede-regression, tempered Gibbs over models, nothing set but the seed;
                         columns and y are standardised, as its documentation advises

Cross-validation takes the penalty of least mean error, as these packages do where nothing is set,
and not the larger one within a standard error of it, which finds fewer false columns and predicts
worse. All fit an intercept.

Found is a coefficient that is not 0, or an inclusion probability above 0.5 where there is one.
Ridge keeps every column, so it finds all of them.
"""

import warnings
from typing import Any

import numpy as np

from benchmarks.harness import methods
from benchmarks.harness.methods import Estimate, standardise

PENALTIES = np.geomspace(1e-3, 1e5, 81)
"""Of ridge, for standardised columns and the sum of squares."""

RATIOS = (0.1, 0.5, 0.9)
"""Shares of the l1 penalty in the elastic net."""

TALL = 0.001
"""The last penalty of MCP's path over the first where there are more rows than columns."""


def lasso(x: np.ndarray, y: np.ndarray, *, folds: int) -> Estimate:
    data = standardise(x, y)
    estimate = methods.lasso(data.x, data.y, folds=folds)
    intercept, coefficients = data.back(estimate.coefficients)
    return estimate._replace(intercept=intercept + estimate.intercept, coefficients=coefficients)


def ridge(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Fit ridge regression; leaving one out has a closed form, so it costs one decomposition."""
    from sklearn.linear_model import RidgeCV

    return _standardised(RidgeCV(PENALTIES), x, y, penalty="alpha_")


def elastic_net(x: np.ndarray, y: np.ndarray, *, folds: int) -> Estimate:
    from sklearn.linear_model import ElasticNetCV

    model = ElasticNetCV(l1_ratio=RATIOS, cv=folds)
    return _standardised(model, x, y, penalty="alpha_", ratio="l1_ratio_")


def ard(x: np.ndarray, y: np.ndarray) -> Estimate:
    from sklearn.linear_model import ARDRegression

    return _standardised(ARDRegression(), x, y, rounds="n_iter_")


def _standardised(model: Any, x: np.ndarray, y: np.ndarray, **told: str) -> Estimate:
    """Fit a model of scikit-learn to standardised columns; a row tells the attributes named."""
    data = standardise(x, y)
    model.fit(data.x, data.y)
    intercept, coefficients = data.back(np.asarray(model.coef_, np.float64))
    details = {
        name: np.asarray(getattr(model, attribute)).item() for name, attribute in told.items()
    }
    return Estimate(intercept, coefficients, coefficients != 0, details)


def abess(x: np.ndarray, y: np.ndarray, *, folds: int | None) -> Estimate:
    """Fit the best subset; its size by EBIC where no folds are given."""
    from abess import LinearRegression

    model = LinearRegression(cv=1 if folds is None else folds).fit(x, y)
    coefficients = np.asarray(model.coef_, np.float64).ravel()
    intercept = float(np.ravel(model.intercept_)[0])
    return Estimate(intercept, coefficients, coefficients != 0, {})


def susie(x: np.ndarray, y: np.ndarray) -> Estimate:
    import pysusie

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = pysusie.susie(x, y)
    both = np.asarray(pysusie.coef_susie(fit), np.float64)
    inclusion = np.asarray(fit["pip"], np.float64)
    details = {
        "sigma": float(fit["sigma2"]) ** 0.5,
        "sets": [np.asarray(one).tolist() for one in fit["sets"]["cs"] or []],
        "converged": bool(fit["converged"]),
        "warnings": sorted({str(warning.message) for warning in caught}),
    }
    return Estimate(float(both[0]), both[1:], inclusion > 0.5, details, inclusion=inclusion)


def millipede(x: np.ndarray, y: np.ndarray, *, seed: int) -> Estimate:
    import pandas
    from millipede import NormalLikelihoodVariableSelector

    data = standardise(x, y)
    scale = float(data.y.std())
    frame = pandas.DataFrame(data.x)
    frame["y"] = data.y / scale
    selector = NormalLikelihoodVariableSelector(frame, "y")
    selector.run(verbosity=None, seed=seed)
    p = x.shape[1]
    inclusion = selector.pip.to_numpy(np.float64)
    beta = selector.beta.to_numpy(np.float64)
    intercept, coefficients = data.back(scale * beta[:p])
    shift = scale * float(beta[p]) if len(beta) > p else 0.0
    return Estimate(intercept + shift, coefficients, inclusion > 0.5, {}, inclusion=inclusion)
