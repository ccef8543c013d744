# SPDX-License-Identifier: Apache-2.0
"""Predictive quantiles, spreads and means against scipy's distributions, mixed over the draws.

Mutations that fail here: the noise left out of an interval; sigma of the first draw for all; the
variance of the means left out of the spread; the scale of a t taken for its standard deviation; the
offset forgotten; counts not rounded up.
"""

import numpy as np
import pytest
from scipy import stats

from aeb.linear import predictive
from aeb.linear.predictive import Posterior

TAILS = (0.05, 0.5, 0.975)
RNG = np.random.default_rng(0)
DRAWS, ROWS = 7, 5
BETA = RNG.normal(size=(DRAWS, 3)).astype(np.float32) * np.array([1, 0, 0.3], np.float32)
X = RNG.normal(size=(ROWS, 3))
OFFSET = np.linspace(-0.5, 0.5, ROWS)
SIGMA = np.linspace(0.3, 2.0, DRAWS)
ETA = OFFSET[:, None] + RNG.normal(size=DRAWS) + X @ BETA.T.astype(float)


def posterior(family):
    intercept = (ETA - OFFSET[:, None] - X @ BETA.T.astype(float))[0]
    return Posterior(
        family, BETA, intercept, SIGMA, np.linspace(3, 9, DRAWS), np.linspace(1, 5, DRAWS)
    )


def given_draws(family):
    """The distribution of y given each draw, of scipy."""
    own = posterior(family)
    if family == "gaussian":
        return stats.norm(ETA, own.sigma)
    if family == "student_t":
        return stats.t(own.freedom, ETA, own.sigma)
    mean, r = np.exp(ETA), own.concentration
    return stats.nbinom(r, r / (r + mean))


@pytest.mark.parametrize("family", ["gaussian", "student_t", "negative_binomial"])
def test_quantiles_mean_and_spread(family):
    own, want = posterior(family), given_draws(family)
    quantiles = predictive.quantiles(own, X, OFFSET, TAILS)
    for tail, column in zip(TAILS, quantiles.T, strict=True):
        reached = want.cdf(column[:, None]).mean(axis=1)
        if family == "negative_binomial":
            assert np.all(reached >= tail)
            before = want.cdf(column[:, None] - 1).mean(axis=1)
            assert np.all((before < tail) & (column == np.round(column)))
        else:
            np.testing.assert_allclose(reached, tail, atol=1e-9)
    mean, second = want.mean().mean(axis=1), (want.var() + want.mean() ** 2).mean(axis=1)
    np.testing.assert_allclose(predictive.mean(own, X, OFFSET), mean, rtol=1e-9)
    np.testing.assert_allclose(
        predictive.standard_deviation(own, X, OFFSET) ** 2, second - mean**2, rtol=1e-9
    )


def test_a_t_of_two_degrees_has_no_spread():
    own = posterior("student_t")._replace(freedom=np.r_[2.0, np.full(DRAWS - 1, 5.0)])
    assert np.all(np.isinf(predictive.standard_deviation(own, X, OFFSET)))


def test_a_binomial_interval_is_of_the_probability():
    own, chance = posterior("binomial"), 1 / (1 + np.exp(-ETA))
    np.testing.assert_allclose(predictive.mean(own, X, OFFSET), chance.mean(axis=1))
    np.testing.assert_allclose(
        predictive.quantiles(own, X, OFFSET, TAILS), np.quantile(chance, TAILS, axis=1).T
    )
    np.testing.assert_allclose(predictive.standard_deviation(own, X, OFFSET), chance.std(axis=1))


def test_rows_go_in_parts(monkeypatch):
    own = posterior("gaussian")
    whole = predictive.quantiles(own, X, OFFSET, TAILS)
    monkeypatch.setattr(predictive, "MOST", 2 * DRAWS)
    np.testing.assert_allclose(predictive.quantiles(own, X, OFFSET, TAILS), whole, rtol=1e-12)
    assert predictive.mean(own, X[:0], OFFSET[:0]).shape == (0,)
