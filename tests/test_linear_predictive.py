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


HARD = {
    "two far modes": ("gaussian", np.r_[np.zeros(5), np.full(5, 1e3)], np.full(10, 1e-3)),
    "one draw far out": ("gaussian", np.r_[np.zeros(9), 1e6], np.full(10, 1.0)),
    "sigmas far apart": ("gaussian", np.zeros(10), np.geomspace(1e-6, 1e3, 10)),
    "Cauchy": ("student_t", np.linspace(-1, 1, 10), np.ones(10)),
    "large counts": ("negative_binomial", np.linspace(8, 14, 10), np.full(10, 300.0)),
    "counts of two kinds": (
        "negative_binomial",
        np.r_[np.full(5, -5), np.full(5, 12)],
        np.ones(10),
    ),
    "hardly ever above 0": ("negative_binomial", np.linspace(-9, 0, 10), np.full(10, 0.02)),
}


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("tail", [1e-4, 0.3, 0.5, 0.9, 0.9999])
def test_quantiles_of_hard_mixtures(case, tail):
    """Mutations: no bracket; steps that do not shrink not replaced by halves."""
    family, eta, shape = HARD[case]
    nothing = np.zeros((10, 1), np.float32)
    own = Posterior(family, nothing, eta, shape, np.ones(10), shape)
    (found,) = predictive.quantiles(own, np.zeros((1, 1)), np.zeros(1), (tail,))[0]
    if family == "negative_binomial":
        law = stats.nbinom(shape, shape / (shape + np.exp(eta)))
        assert law.cdf(found).mean() >= tail
        assert found == 0 or law.cdf(found - 1).mean() < tail
        return
    law = stats.norm(eta, shape) if family == "gaussian" else stats.t(1.0, eta, shape)
    near = 1e-6 * shape.min()
    assert law.cdf(found - near).mean() <= tail <= law.cdf(found + near).mean()


@pytest.mark.parametrize(
    ("family", "most"), [("gaussian", 8), ("student_t", 11), ("negative_binomial", 11)]
)
def test_an_interval_takes_few_looks_at_the_noise(family, most, monkeypatch):
    """Which is what it costs: bisection takes 124. Mutations: bisection; no second-last point."""
    looked = []
    reached = predictive._reached
    monkeypatch.setattr(
        predictive, "_reached", lambda own, mu, y: looked.append(len(y)) or reached(own, mu, y)
    )
    rng = np.random.default_rng(0)
    draws = rng.normal(scale=0.2, size=(200, 3)).astype(np.float32)
    uniform = rng.uniform(0.8, 1.2, 200)
    own = Posterior(family, draws, np.full(200, 2.0), uniform, 5 * uniform, 3 * uniform)
    predictive.quantiles(own, rng.normal(size=(300, 3)), np.zeros(300), (0.05, 0.95))
    assert sum(looked) <= most * 300


def test_counts_of_rows_far_out():
    """Finite, or refused by row. Mutations: no limit, where the spread is inf and the interval nan;
    a limit on each part of the rows with its own numbers; a spread of 0 that divides."""
    nothing = np.zeros((3, 1), np.float32)
    own = Posterior("negative_binomial", nothing, np.zeros(3), np.ones(3), np.ones(3), np.ones(3))
    far = np.array([-800.0, -40.0, 220.0])
    for found in (
        predictive.mean(own, np.zeros((3, 1)), far),
        predictive.standard_deviation(own, np.zeros((3, 1)), far),
        predictive.quantiles(own, np.zeros((3, 1)), far, TAILS)[:, 2],
    ):
        assert np.all(np.isfinite(found))
        np.testing.assert_allclose(found[:2], 0.0, atol=1e-8)
        assert found[2] > 1e95
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictive, "MOST", 6)  # two rows at a time
        for call in (predictive.mean, predictive.standard_deviation):
            with pytest.raises(
                ValueError, match=r"^x: row 3 .*is too far .* its expected count .* exp\(800\)"
            ):
                call(own, np.zeros((5, 1)), np.array([0.0, 1.0, 2.0, 800.0, 900.0]))
