# SPDX-License-Identifier: Apache-2.0
"""Padding changes no probability, and makes one program do for many shapes.

Mutations that fail here: columns added with even odds; R-hat of columns added; delta moved towards
its target as if added columns could be in the model; no padding.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from aeb.linear import padding
from aeb.linear.families import FAMILIES, Rows
from aeb.linear.support import Hyper, Information, Problem, flip, learn, nothing, start
from aeb.linear.weighted import condense

regression_module = importlib.import_module("aeb.linear.regression")

# Operation by operation they would compile for longer than they run.
begin, one_flip, taught = jax.jit(start), jax.jit(flip), jax.jit(learn)


def problem(m, p):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(m, p))
    y = x[:, 0] - 0.5 * x[:, 1] + rng.normal(size=m)
    return Problem(jnp.asarray(x), jnp.asarray(y), jnp.asarray(0.1), jnp.asarray(m + 1.0))


def test_sizes_are_few_and_not_much_larger():
    counts = np.arange(1, 3000)
    sizes = np.array([padding.size(int(count)) for count in counts])
    assert np.all(sizes >= counts)
    assert np.all(sizes - counts <= np.maximum(15, counts / 8))
    assert len(set(sizes[:100])) == 7
    assert np.all(np.diff(sizes) >= 0)


def test_folds_of_a_large_table_have_one_size():
    """To within a few percent of what they are."""
    shapes = {padding.pad(problem(rows, 1001)).x.shape for rows in (242, 243)}
    assert shapes == {(256, 1008)}
    counts = np.arange(600, 3000)
    sizes = np.array([padding.size(int(count), steps=padding.LARGE) for count in counts])
    assert np.all(sizes - counts < counts / 32)


@pytest.mark.parametrize("v0", [0.0, 0.01])
def test_what_is_added_changes_nothing(x64, v0):
    own = problem(9, 6)
    wide = padding.pad(own)
    assert wide.x.shape == (16, 16)
    included = np.array([True, False, True, False, False, False])
    chains, stays = [], []
    for data, gamma in ((own, included), (wide, np.pad(included, (0, 10)))):
        chain = begin(data, jnp.asarray(gamma), 0.2, jnp.asarray(0.3), v0)
        chains.append(chain)
        stays.append(one_flip(data, chain, jax.random.key(0))[1])
    np.testing.assert_allclose(chains[1].misfit, chains[0].misfit, rtol=1e-12)
    np.testing.assert_allclose(chains[1].score[:6], chains[0].score, rtol=1e-10, atol=1e-12)
    for name in stays[0]._fields:
        short, long = (np.asarray(getattr(stay, name)) for stay in stays)
        np.testing.assert_allclose(long[..., :6] if long.ndim else long, short, rtol=1e-6)
        if long.ndim:
            assert np.all(np.abs(long[6:]) < 1e-20)


def test_the_fixed_point_of_delta_stays(x64):
    """Where the columns of the data give delta no reason to move, those added give it none."""
    own, wide = problem(9, 6), padding.pad(problem(9, 6))
    hyper = Hyper(*(jnp.asarray(value) for value in (2.0, 3.0, 0.3, 10.0)))
    delta = 0.2
    # (sum rho + a - 1) / (a + b + p - 2) = delta
    rho = np.full(6, (delta * (5.0 + 6 - 2) - 1.0) / 6)
    for data in (own, wide):
        p = data.x.shape[1]
        chain = begin(data, jnp.zeros(p, bool), delta, jnp.asarray(0.3))
        chains = jax.tree.map(lambda leaf: leaf[None], chain)
        totals = nothing(p)._replace(time=jnp.ones(()), rho=jnp.asarray(np.pad(rho, (0, p - 6))))
        totals = jax.tree.map(lambda leaf: leaf[None], totals)
        told = Information(jnp.ones(1), jnp.ones(1))
        moved = taught(hyper, chains, totals, told, 1.0, 0.0, data.log_odds)
        np.testing.assert_allclose(moved.delta, delta, rtol=1e-9)


@pytest.mark.parametrize("family", ["student_t", "binomial"])
def test_rows_that_are_added_say_nothing(x64, family):
    """Whatever weights are drawn for them. Mutation: an intercept in them, or a y of 1."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)), (rng.random(9) < 0.5).astype(float)
    own = Rows(
        *(x, np.ones((9, 1)), np.full(1, 0.01), y, np.ones(9), np.linspace(0, 1, 9)),
        *(np.array([4.0]), np.zeros(1)),
    )
    wide, odds, _ = padding.pad_rows(own, None, family)
    assert wide.x.shape == (64, 16)
    assert odds.shape == (16,)
    solved = []
    for rows in (own, wide):
        response = FAMILIES[family].start(jax.tree.map(jnp.asarray, rows))
        weights = response.weights * np.linspace(1.0, 3.0, 64)[: len(rows.y)]
        # The target of a row with trials follows from its weight.
        target = response.target * response.weights / weights
        problem, _ = condense(
            rows,
            response._replace(weights=weights, target=target),
            10.0,
            0.1,
            known_sigma=family == "binomial",
            log_odds=None,
        )
        values = np.asarray(problem.x), np.asarray(problem.y)
        square = values[0].T @ values[0], values[0].T @ values[1]
        solved.append((*square, problem.rest + values[1] @ values[1]))
    for short, long in zip(*solved, strict=True):
        long = np.asarray(long)
        np.testing.assert_allclose(long[(slice(3),) * long.ndim], short, rtol=1e-8, atol=1e-8)
        assert np.all(long[(slice(3, None),) * long.ndim] == 0) or not long.ndim


@pytest.mark.slow
def test_shapes_share_a_program():
    settings = {"num_draws": 10, "warmup": 5, "thinning": 3, "num_chains": 2}
    rng = np.random.default_rng(0)
    run = regression_module._program(2, 1, 3, False)
    before = run._cache_size()
    for n, p in ((30, 12), (31, 13), (12, 12), (200, 5), (11, 16)):
        x = rng.normal(size=(n, p))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(regression_module, "interpret", lambda fit, *rest, **more: fit)
            fit = aeb.regression(x, x[:, 0] + rng.normal(size=n), **settings)
        assert fit.draws.shape == (2, 10, p)
        assert fit.inclusion.shape == fit.r_hat.shape == (p,)
    assert run._cache_size() == before + 1


@pytest.mark.slow
def test_the_answer_is_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 65))
    y = x[:, :3] @ [1.0, -0.6, 0.4] + rng.normal(size=40)
    padded = aeb.regression(x, y, num_draws=1000)
    monkeypatch.setattr(padding, "pad", lambda problem: problem)
    plain = aeb.regression(x, y, num_draws=1000)
    np.testing.assert_allclose(padded.inclusion, plain.inclusion, atol=0.03)
    np.testing.assert_allclose(padded.coefficients, plain.coefficients, atol=0.03)
    assert padded.delta == pytest.approx(plain.delta, rel=0.15)
    assert not np.array_equal(padded.draws, plain.draws)
