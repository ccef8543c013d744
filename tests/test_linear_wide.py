# SPDX-License-Identifier: Apache-2.0
"""Flips among a few columns at a time leave the same law invariant as flips among all.

Statistical tests allow five standard errors. Mutations that fail here: a flip more at the end
of a stretch, the average of a column out of A left at 0, v1 for v1 - v0 in P; no tilt of the
flips, one of the averages too, one of pi alone; A cut off where it does not find room; P worked
out from the P beside S.
"""

import functools
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
@pytest.mark.parametrize(("v0", "thinning"), [(0.0, 3), (0.1, 20)])
def test_the_law_is_that_of_all_models(x64, monkeypatch, v0, thinning):
    """Four columns of seven at a time at most, the latents held."""
    monkeypatch.setattr(wide, "ACTIVE", 4)
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
        *(problem, hyper, starts, spike, chi, jax.random.key(1)), warmup=0, thinning=thinning
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


@pytest.mark.slow
def test_columns_alike_change_places(x64, monkeypatch):
    """Two near copies of a strong signal: by flips alone the chain stays with one of them."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(60, 24)).astype(np.float32)
    x[:, 1] = x[:, 0] + 0.01 * rng.normal(size=60)
    y = 5.0 * x[:, 0] + rng.normal(size=60)
    problem = Problem(*(jnp.asarray(part) for part in (x, y, REST, 60.0)))
    hyper = Hyper(*(jnp.asarray(value) for value in (2.0, 22.0, 10.0, np.inf)))
    starts = np.zeros((8, 24), bool)
    starts[:, 0] = True
    chi = rng.gamma(30.0, size=(10, 8, 5))
    changes = {}
    for count in (0, wide.EXCHANGES):
        monkeypatch.setattr(wide, "EXCHANGES", count)
        wide._program.cache_clear()
        made = wide.run(
            *(problem, hyper, starts, (jnp.asarray(0.0), jnp.asarray(0)), chi, jax.random.key(1)),
            warmup=0,
            thinning=2,
        )[2]
        has = made.included[0, :, :, 0]
        changes[count] = int((has[:, 1:] != has[:, :-1]).sum())
    wide._program.cache_clear()
    print(changes)
    assert changes[wide.EXCHANGES] > 60 > 3 * changes[0]


def chains_of(included, v0, held=0.0):
    """Chains at these sets, what follows from the sets left at `held`."""
    count, p = included.shape
    each, one = jnp.full((count, p), held), jnp.ones(count)
    return Chain(
        *(jnp.asarray(included), jnp.full((count, 12, 12), held), each, each, held * one),
        *(0.2 * one, one, v0 * one),
    )


def a_problem():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 20)).astype(np.float32), rng.normal(size=12)
    problem = Problem(*(jnp.asarray(part) for part in (x, y, REST, DEGREES)))
    included = rng.random((2, 20)) < [[0.1], [0.7]]
    assert included.sum(axis=1).max() > wide.AT_ONCE
    double = problem.x.astype(float)
    return problem, included, jnp.matmul(double, double.T)


@pytest.mark.parametrize("v0", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_a_sweep_is_a_refresh(x64, v0):
    """In as many passes as S needs, and whatever stands beside S."""
    problem, included, kernel = a_problem()
    bare = wide._bare(problem, kernel, jnp.asarray(v0))
    swept = jax.jit(wide._sweep)(problem, bare, chains_of(included, v0, held=jnp.nan))
    double = problem._replace(x=problem.x.astype(float))
    fresh = jax.vmap(lambda chain: refresh(double, chain))(chains_of(included, v0))
    for name, tolerance in (("inverse", 1e-9), ("misfit", 1e-9), ("score", 1e-4)):
        np.testing.assert_allclose(getattr(swept, name), getattr(fresh, name), atol=tolerance)
    np.testing.assert_allclose(swept.leverage, fresh.leverage, atol=1e-4)
    told = jax.vmap(lambda chain: averages(double, chain))(fresh)
    assert np.all(np.asarray(told.time) == 1.0)


@pytest.mark.slow
def test_what_follows_from_the_set_does_not_depend_on_how_it_was_reached(x64, monkeypatch):
    """Neither on A nor on the flips: P and R to the bit, q and s to the rounding of X."""
    monkeypatch.setattr(wide, "ACTIVE", 8)
    problem, included, kernel = a_problem()
    bare = wide._bare(problem, kernel, jnp.asarray(0.0))
    begun = wide._sweep(problem, bare, chains_of(included, 0.0))
    chance = jnp.full(20, 0.2)

    @functools.partial(jax.jit, static_argnums=2)
    def draw(chains, key, pieces):
        state = wide.State(chains, bare, chance, 20.0)
        return wide._draw(problem, state, wide.offer(chance, 8), key, jnp.ones(2), pieces)[:2]

    many = 0
    for number in range(5):
        key = jax.random.key(number)
        ended, flips = draw(begun, key, 2)
        many += int(flips.sum())
        again = wide._sweep(problem, bare, chains_of(np.asarray(ended.included), 0.0))
        # Nothing happens, among other columns.
        stayed, none = draw(again, jax.random.fold_in(key, 1), 0)
        assert not none.any()
        for other in (again, stayed):
            np.testing.assert_array_equal(other.included, ended.included)
            np.testing.assert_allclose(other.inverse, ended.inverse, rtol=0, atol=1e-14)
            np.testing.assert_allclose(other.misfit, ended.misfit, rtol=1e-14)
            np.testing.assert_allclose(other.leverage, ended.leverage, atol=1e-4)
            np.testing.assert_allclose(other.score, ended.score, atol=1e-4)
    assert many > 50


def test_columns_are_offered_as_often_as_is_said(x64):
    """More often where they are in S, and none where there is no room."""
    chance = jnp.asarray(np.r_[1.0, 0.9, np.full(97, 1e-3), 0.5])
    offered = wide.offer(chance, 40)
    out, inside = (np.asarray(part) for part in offered)
    assert out.sum() == pytest.approx(0.75 * 20)
    assert out[:2].tolist() == pytest.approx([1.0, 1.0])
    assert np.ptp(out[2:99]) == 0
    assert np.all((out > 0) & (out <= inside) & (inside <= 1 + 1e-9))
    # Few are in S on average, and all of those are offered.
    assert inside.tolist() == pytest.approx([1.0] * 100)
    crowded = wide.offer(jnp.full(100, 0.3), 40)
    assert 0.3 * float((crowded.inside - crowded.out).sum()) == pytest.approx(0.25 * 20)
    included = jnp.asarray(np.arange(100) % 3 == 0)
    levels = np.random.default_rng(0).random((4000, 100))
    draw = jax.jit(jax.vmap(lambda level: wide.active(crowded, included, level, 40)))
    columns = np.asarray(draw(jnp.asarray(levels)))
    share = np.bincount(columns.ravel(), minlength=101)[:100] / 4000
    want = np.where(included, crowded.inside, crowded.out)
    assert np.all(np.abs(share - want) < 5 * np.sqrt(want * (1 - want) / 4000) + 1e-9)
    tight = jax.jit(lambda level: wide.active(crowded, included, level, 3))
    taken = (levels[0] < want).nonzero()[0]
    assert len(taken) > 3
    assert tight(jnp.asarray(levels[0])).tolist() == [100, 100, 100]
    np.testing.assert_array_equal(columns[0][: len(taken)], taken)
    assert np.all(columns[0][len(taken) :] == 100)


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
