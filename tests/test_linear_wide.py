# SPDX-License-Identifier: Apache-2.0
"""Flips among a few columns at a time leave the same law invariant as flips among all.

Statistical tests allow five standard errors. Mutations that fail here: a flip more at the end
of a stretch, the average of a column out of A left at 0, v1 for v1 - v0 in P.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from aeb.linear import wide
from aeb.linear.support import Chain, Hyper, Problem, averages, refresh

N, P, V1, REST, DEGREES = 9, 7, 0.4, 0.45, 9.5


def numbers():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(N, P))
    x[:, 1] += x[:, 0]
    return x.astype(np.float32), x[:, 0] + rng.normal(size=N)


def posterior(x, y, v0, delta):
    """Inclusion probabilities and means, by adding up all models."""
    x = x.astype(np.float64)
    logs, means, models = [], [], []
    for bits in itertools.product([False, True], repeat=P):
        chosen = np.array(bits)
        prior = np.where(chosen, V1, v0)
        gram = np.eye(N) + x @ np.diag(prior) @ x.T
        solved = np.linalg.solve(gram, y)
        odds = chosen.sum() * np.log(delta / (1 - delta))
        size = 0.5 * np.linalg.slogdet(gram)[1] + 0.5 * DEGREES * np.log(y @ solved + REST)
        logs.append(odds - size)
        means.append(prior * (x.T @ solved))
        models.append(chosen)
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    return weights @ np.array(models), weights @ np.array(means)


@pytest.mark.slow
@pytest.mark.parametrize("v0", [0.0, 0.1])
def test_the_law_is_that_of_all_models(x64, monkeypatch, v0):
    """Three columns of seven at a time, the latents held."""
    monkeypatch.setattr(wide, "ACTIVE", 3)
    x, y = numbers()
    chains, blocks = 64, 80
    hyper = Hyper(*(jnp.asarray(value) for value in (2.0, 1.0, V1, np.inf)))
    delta = 2.0 / (2.0 + 1.0 + P)
    problem = Problem(*(jnp.asarray(part) for part in (x, y, REST, DEGREES)))
    rng = np.random.default_rng(0)
    starts = rng.random((chains, P)) < 0.5
    chi = rng.gamma(DEGREES / 2, size=(blocks, chains, 5))
    spike = jnp.asarray(v0), jnp.asarray(0)
    _, totals, made = wide.run(
        *(problem, hyper, starts, spike, chi, jax.random.key(1)), warmup=0, thinning=3
    )
    inclusion, mean = posterior(x, y, v0, delta)
    assert 0.05 < inclusion.min() < inclusion.max() - 0.1 < 0.89
    for told, want in (
        (totals.rho / totals.time[:, None], inclusion),
        ((totals.beta + totals.small) / totals.time[:, None], mean),
        (made.included[0].mean(axis=1), inclusion),
        (made.rho[0].mean(axis=1), inclusion),
        (made.beta[0].mean(axis=1), mean),
    ):
        error = told.std(axis=0, ddof=1) / chains**0.5
        assert np.all(np.abs(told.mean(axis=0) - want) < 5 * error + 1e-5)
        assert np.all(error < 0.02)


@pytest.mark.parametrize("v0", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_a_sweep_is_a_refresh(x64, v0):
    """In as many passes as S needs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 20)).astype(np.float32), rng.normal(size=12)
    problem = Problem(*(jnp.asarray(part) for part in (x, y, REST, DEGREES)))
    included = jnp.asarray(rng.random((2, 20)) < [[0.1], [0.7]])
    assert int(included.sum(axis=1).max()) > wide.AT_ONCE
    empty, one = jnp.zeros((2, 20)), jnp.ones(2)
    chains = Chain(included, jnp.zeros((2, 12, 12)), empty, empty, one, 0.2 * one, one, v0 * one)
    double = problem._replace(x=problem.x.astype(float))
    kernel = jnp.matmul(double.x, double.x.T)
    swept = wide._sweep(problem, wide._bare(problem, kernel, jnp.asarray(v0)), chains)
    fresh = jax.vmap(lambda chain: refresh(double, chain))(chains)
    for name, tolerance in (("inverse", 1e-9), ("misfit", 1e-9), ("score", 1e-4)):
        np.testing.assert_allclose(getattr(swept, name), getattr(fresh, name), atol=tolerance)
    np.testing.assert_allclose(swept.leverage, fresh.leverage, atol=1e-4)
    told = jax.vmap(lambda chain: averages(double, chain))(fresh)
    assert np.all(np.asarray(told.time) == 1.0)


@pytest.mark.slow
def test_shares_add_up_and_follow_the_chances(x64):
    chance = jnp.asarray(np.r_[1.0, 0.9, np.full(98, 1e-3)])
    share = np.asarray(wide.shares(chance, 10))
    assert share.sum() == pytest.approx(10)
    assert share[:2].tolist() == pytest.approx([1.0, 1.0])
    assert np.ptp(share[2:]) == 0
    assert share.max() <= 1 + 1e-9
    starts = (np.arange(2000) + 0.5) / 2000
    counts = np.zeros(100)
    for start in starts:
        columns, twice = wide.active(jnp.asarray(share), start, 10)
        assert not twice.any()
        counts[np.asarray(columns)] += 1
    np.testing.assert_allclose(counts / 2000, share, atol=2e-3)


@pytest.mark.slow
def test_the_answer_is_that_of_all_columns_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 600))
    y = x[:, :4] @ [1.5, -1.0, 0.6, 0.35] + rng.normal(size=80)
    plain = aeb.regression(x, y, num_draws=500)
    monkeypatch.setattr(wide, "LEAST", 500)
    few = aeb.regression(x, y, num_draws=500)
    np.testing.assert_allclose(few.inclusion, plain.inclusion, atol=0.05)
    np.testing.assert_allclose(few.coefficients, plain.coefficients, atol=0.05)
    assert few.delta == pytest.approx(plain.delta, rel=0.15)
    assert few.sigma == pytest.approx(plain.sigma, rel=0.02)
    assert few.largest_r_hat < 1.1
