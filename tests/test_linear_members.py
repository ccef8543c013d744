# SPDX-License-Identifier: Apache-2.0
"""Flips by `members.py` against flips by P, which other tests hold against all models.

Mutations that fail here: the sign of h, v missing in h or in a draw, G_j left out of a, t not taken
from M where a column leaves, v0 left out of P0 or of y' P0 y, a place never given back, rows passed
over between two reads, no mark where places run out, at the start or by a flip, a mark that is
forgotten, the marked chains returned, G not computed again after v0 moved.
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
import aeb.linear.regression
from aeb.linear import members
from aeb.linear.support import Problem, flip, information, refresh, snapshot, start

N, P, V1, DELTA = 30, 40, 0.4, 0.2
SPIKES = (0.0, 0.01)
"""v0."""

SAME = ("leverage", "score", "misfit")


@pytest.fixture(params=SPIKES)
def both(x64, monkeypatch, request):
    """The problem with P, with members, and v0."""
    monkeypatch.setattr(members, "places", lambda *_: 24)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, P))
    x[:, 1] = x[:, 0] + 0.1 * rng.normal(size=N)
    y = x[:, 0] - x[:, 7] + rng.normal(size=N)
    v0 = jnp.asarray(request.param)
    whole = Problem(*(jnp.asarray(part) for part in (x, y, 0.45, N + 0.5)))
    base = jax.jit(members.prepare)(whole.x, whole.y, v0)
    return whole, whole._replace(base=base), v0


@functools.partial(jax.jit, static_argnums=2)
def path(problem, chains, flips):
    """The chains after each of some flips, [flips, chains, ...]."""

    def one(chains, key):
        keys = jax.random.split(key, len(chains.delta))
        chains = jax.vmap(lambda *own: flip(problem, *own)[0])(chains, keys)
        return chains, chains

    return jax.lax.scan(one, chains, jax.random.split(jax.random.key(3), flips))[1]


def begun(problem, v0, v1=V1):
    included = np.zeros((3, P), bool)
    included[1, [0, 7]] = included[2, :12] = True
    each = jax.vmap(lambda own: start(problem, own, DELTA, jnp.asarray(v1), v0))
    return jax.jit(each)(jnp.asarray(included))


def test_flips_are_those_by_p(both):
    """To the same columns, with the same q, s and R after each, from empty and full starts."""
    whole, few, v0 = both
    want, got = (path(problem, begun(problem, v0), 300) for problem in (whole, few))
    assert not got.inverse.over.any()
    np.testing.assert_array_equal(got.included, want.included)
    sizes = np.asarray(want.included).sum(axis=2)
    # One read of a few rows, and several.
    assert sizes.min() <= 4
    assert sizes.max() > 12
    for name in SAME:
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-6, atol=1e-8)
    for columns, included in zip(got.inverse.columns[-1], got.included[-1], strict=True):
        assert set(columns.tolist()) - {P} == set(np.flatnonzero(included).tolist())


def test_many_flips_end_where_a_refresh_does(both):
    _, few, v0 = both
    ended = jax.tree.map(lambda leaf: leaf[-1], path(few, begun(few, v0), 1000))
    fresh = jax.jit(jax.vmap(lambda chain: refresh(few, chain)))(ended)
    for name in SAME:
        np.testing.assert_allclose(getattr(ended, name), getattr(fresh, name), rtol=1e-9)
    for k in range(3):
        order, again = (np.argsort(own.inverse.columns[k]) for own in (ended, fresh))
        np.testing.assert_allclose(
            ended.inverse.inverse[k][np.ix_(order, order)],
            fresh.inverse.inverse[k][np.ix_(again, again)],
            atol=1e-11,
        )


def test_a_column_that_leaves_keeps_its_digits(both):
    """Where 1 - v q_j has lost all of them."""
    whole, few, v0 = both
    v1 = 1e9
    included = jnp.arange(P) < 3
    chain = start(few, included, DELTA, jnp.asarray(v1), v0)
    v = v1 - v0
    lost = 1.0 - v * chain.leverage[0]
    moved, _, t = members.flip(few.base, chain.inverse, jnp.asarray(0), jnp.asarray(True), v, lost)
    rest = refresh(whole, chain._replace(included=included.at[0].set(False)))
    want = 1.0 / (1.0 + float(v) * float(rest.leverage[0]))
    assert abs(float(lost) - want) > want
    assert float(t) == pytest.approx(want, rel=1e-6)
    assert sorted(moved.columns.tolist())[:3] == [1, 2, P]


def test_a_draw_and_the_information_are_those_by_p(both):
    whole, few, v0 = both
    chi = jnp.asarray(14.0)
    made = [
        jax.jit(
            lambda chain, problem=problem: (
                snapshot(problem, chain, jnp.ones(()), jax.random.key(5), chi),
                information(problem, chain),
            )
        )(jax.tree.map(lambda leaf: leaf[2], begun(problem, v0)))
        for problem in (whole, few)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), *made)


def test_a_chain_without_a_place_is_marked(both, monkeypatch):
    """At the start, by a flip, and for good."""
    _, few, v0 = both
    monkeypatch.setattr(members, "places", lambda *_: 4)
    chain = start(few, jnp.arange(P) < 4, DELTA, jnp.asarray(V1), v0)
    assert not chain.inverse.over
    more, _, _ = members.flip(
        few.base, chain.inverse, jnp.asarray(9), jnp.asarray(False), jnp.asarray(V1), 2.0
    )
    assert more.over
    less, _, _ = members.flip(
        few.base, more, jnp.asarray(2), jnp.asarray(True), jnp.asarray(V1), 2.0
    )
    assert less.over
    assert refresh(few, chain._replace(inverse=less)).inverse.over
    assert start(few, jnp.arange(P) < 5, DELTA, jnp.asarray(V1), v0).inverse.over


@pytest.mark.slow
def test_a_regression_is_the_same_both_ways(monkeypatch):
    """By members, by P, and by P after the places ran out."""
    module = sys.modules["aeb.linear.regression"]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(160, 170))
    y = x[:, :9] @ rng.choice([-1.0, 1.0], 9) + x @ rng.normal(size=170, scale=0.1)
    y += rng.normal(size=160)
    ways = []
    real = module._program

    def program(chains, warmup, thinning, by_members):
        ways.append(by_members)
        return real.__wrapped__(chains, warmup, thinning, by_members)

    monkeypatch.setattr(module, "_program", program)
    fits = []
    for name, value in (("LEAST", members.LEAST), ("LEAST", 10_000), ("PLACES", 8)):
        with monkeypatch.context() as patch:
            patch.setattr(members, name, value)
            fits.append(aeb.regression(x, y, num_draws=50, warmup=50))
    assert ways == [True, False, True, False]
    by_members, by_p, fallen_back = fits
    np.testing.assert_allclose(by_members.inclusion, by_p.inclusion, atol=1e-6)
    np.testing.assert_allclose(by_members.coefficients, by_p.coefficients, atol=1e-6)
    np.testing.assert_allclose(fallen_back.inclusion, by_p.inclusion, rtol=1e-9)
    assert by_p.v0 > 0
    assert by_p.included_draws.sum(axis=-1).max() > 8
