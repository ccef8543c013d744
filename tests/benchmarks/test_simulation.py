# SPDX-License-Identifier: Apache-2.0
"""The large-p-small-n regression: moments of its data, its arms against `oracle.py`, its scores.

Statistical tests allow five standard errors: with the fewer than 100 numbers compared here, a right
generator fails one seed in 20,000. Mutations that fail here: innovations not scaled, a correlation
that does not decay, fresh rows of other coefficients or without noise, kappa0 dropped from the SGLD
arm, a gain of another arm, the step size one step late, a draw too many left out, the same noise at
each step.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import aeb
from benchmarks.simulation import design as designs
from benchmarks.simulation import sampler, scores
from benchmarks.simulation.design import DataSet, Design, errors, interval_scores
from benchmarks.simulation.recipe import Cell, Recipe

SETS, ROWS, FRESH, COLUMNS = 4000, 12, 6, 7


@pytest.fixture(scope="module")
def many():
    """Many small data sets, in float64 numpy."""
    design = Design(num_rows=ROWS, num_columns=COLUMNS, num_fresh=FRESH)
    keys = jax.random.split(jax.random.key(1), SETS)
    data = jax.jit(jax.vmap(lambda key: designs.draw(design, key)))(keys)
    return DataSet(*(np.asarray(part, np.float64) for part in data))


@pytest.mark.parametrize("part", ["x", "fresh_x"])
def test_columns_are_standard_and_correlate_by_powers(many, part):
    x = getattr(many, part).reshape(-1, COLUMNS)
    place = np.arange(COLUMNS)
    sigma = 0.6 ** np.abs(place[:, None] - place)
    assert np.all(np.abs(x.mean(axis=0)) < 5 / np.sqrt(len(x)))
    error = np.sqrt((1 + sigma**2) / len(x))  # of the mean product of two standard normals
    assert np.all(np.abs(x.T @ x / len(x) - sigma) < 5 * error)
    # Rows of one data set are independent.
    rows = getattr(many, part)
    assert np.all(np.abs(np.mean(rows[:, 0] * rows[:, 1], axis=0)) < 5 / np.sqrt(SETS))


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("fresh_x", "fresh_y")])
def test_noise_has_mean_0_and_variance_3(many, x, y):
    noise = getattr(many, y) - np.einsum("dnp,dp->dn", getattr(many, x), many.beta)
    count = noise.size
    assert abs(noise.mean()) < 5 * np.sqrt(3 / count)
    assert abs(noise.var() - 3) < 5 * 3 * np.sqrt(2 / count)
    with_x = np.einsum("dn,dnp->p", noise, getattr(many, x)) / count
    assert np.all(np.abs(with_x) < 5 * np.sqrt(3 / count))


def test_signals_vary_and_the_rest_is_zero(many):
    signals = many.beta[:, :3]
    assert np.all(np.abs(signals.mean(axis=0) - [3, 2, 1]) < 5 * 0.2 / np.sqrt(SETS))
    assert np.all(np.abs(signals.var(axis=0) - 0.04) < 5 * 0.04 * np.sqrt(2 / SETS))
    assert abs(np.corrcoef(signals.T)[0, 1]) < 5 / np.sqrt(SETS)
    assert not many.beta[:, 3:].any()


def test_population_mse_is_the_quadratic_form():
    design = Design(num_columns=9)
    rng = np.random.default_rng(0)
    beta, estimate = rng.normal(size=(2, 9))
    place = np.arange(9)
    sigma = 0.6 ** np.abs(place[:, None] - place)
    want = 3 + (beta - estimate) @ sigma @ (beta - estimate)
    assert designs.population_mse(design, beta, estimate) == pytest.approx(want, rel=1e-12)
    assert designs.population_mse(design, beta, beta) == 3


def test_errors_and_intervals(many):
    one = DataSet(*(part[0] for part in many))
    residual = one.fresh_y - one.fresh_x @ np.ones(COLUMNS)
    scores = errors(one, np.ones(COLUMNS))
    assert scores["mae"] == pytest.approx(np.abs(residual).mean())
    assert scores["mse"] == pytest.approx((residual**2).mean())
    beta, low, high = np.array([[3.0, 1.0, 0, 0, 0], [2, 2, -1, 0, 1], [4, 3, 1, 2, 2]])
    scores = interval_scores(beta, low, high, count=2)
    assert scores["signals"] == {"coverage": 0.5, "width": 1.5}
    assert scores["nulls"] == {"coverage": pytest.approx(2 / 3), "width": pytest.approx(5 / 3)}


STEPS = 12
SMALL = Design(num_rows=8, num_columns=10, num_fresh=4)
DRAWS = {"num_steps": STEPS, "thinning": 2, "burn_in": 1 / 3, "interval_draws": 2}
GAIN = {"gain_cap": 0.5, "gain_coefficient": 1.5, "gain_offset": 3.0}
BETA = {"a": 1.5, "b": 4.0}
RECIPE = Recipe(step_size=5e-3, temperature=0.0, **DRAWS, **GAIN, **BETA)


def oracle_chain(arm, v0, sigma, position, x, y):
    """The same chain in numpy: a linear model's gradient, the oracle's prior and sweep."""
    gains = {"sa": lambda k: min(0.5, 1.5 / (3 + k) ** 0.7), "em": lambda k: 1, "sgld": lambda k: 0}
    spec = oracle.Spec(
        likelihood="gaussian",
        num_data=len(y),
        selected=("w",),
        v0=v0,
        v1=10.0,
        **BETA,
        learn_sigma=arm != "sgld",
        learn_delta=arm != "sgld",
        gain=gains[arm],
    )
    start = {"rho": 0.5, "kappa0": 1.0, "kappa1": 1.0, "delta": 0.5, "sigma": sigma}
    chain = oracle.start(spec, {"w": position}, **start)
    states = [chain]
    for k in range(STEPS):
        beta = chain.position["w"]
        grad = x.T @ (y - x @ beta) / chain.sigma**2 + oracle.log_prior_grad(spec, chain)["w"]
        beta = beta + 5e-3 * (k + 1) ** (-1 / 3) * grad
        chain = chain._replace(position={"w": beta})
        chain = oracle.sweep(spec, chain, float(np.sum((y - x @ beta) ** 2)))
        chain = chain._replace(step=k + 1)
        states.append(chain)
    return states


CELLS = (
    Cell("sa", 0.1, 2.0),
    Cell("sa", 0.03, 1.0),
    Cell("em", 0.1, 2.0),
    Cell("sgld", None, 2.0),
)


def test_cells_follow_the_oracle(x64):
    seeds = (3, 8)
    programs = sampler.build(SMALL, RECIPE, CELLS)
    data, keys, first = programs.start(jnp.asarray(seeds))
    given = jax.device_get((data, first))
    half = programs.advance(first, data, keys, 2)
    mid = jax.device_get(half)
    carry = jax.device_get(programs.advance(half, data, keys, STEPS // 2 - 2))
    assert carry.chain.position.dtype == np.float64
    for d, c in np.ndindex(len(seeds), len(CELLS)):
        arm, v0, sigma = CELLS[c]
        states = oracle_chain(
            arm, v0 or 1.0, sigma, given[1].chain.position[d, c], given[0].x[d], given[0].y[d]
        )
        moved = np.abs(states[-1].position["w"] - states[0].position["w"])
        assert moved.max() > 0.05
        for state, want in ((mid, states[4]), (carry, states[-1])):
            latent = state.chain.latent
            for got, expected in (
                (state.chain.position[d, c], want.position["w"]),
                (state.residual[d, c], given[0].y[d] - given[0].x[d] @ want.position["w"]),
                (latent.rho[""][d, c], want.rho["w"]),
                (latent.kappa0[""][d, c], want.kappa0["w"]),
                (latent.kappa1[""][d, c], want.kappa1["w"]),
                (latent.delta[""][d, c], want.delta["w"]),
                (latent.sigma[d, c], want.sigma),
            ):
                np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
        # Of the draws after 2, 4, .. 12 steps the first two are left out.
        draws = np.array([states[k].position["w"] for k in (6, 8, 10, 12)])
        np.testing.assert_allclose(carry.mean[d, c], draws.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(carry.square[d, c] / 4, draws.var(axis=0), rtol=1e-6, atol=1e-15)
        np.testing.assert_allclose(carry.signals[:, d, c], draws[:, :3], rtol=1e-9)
        np.testing.assert_allclose(carry.whole[:, d, c], draws[[1, 3]], rtol=1e-9)
        rho = np.mean([states[k].rho["w"] for k in (6, 8, 10, 12)], axis=0)
        np.testing.assert_allclose(carry.rho[d, c], rho, rtol=1e-9)
        mean_sigma = np.mean([states[k].sigma for k in (6, 8, 10, 12)])
        np.testing.assert_allclose(carry.sigma[d, c], mean_sigma, rtol=1e-9)


def test_a_step_is_the_kernels(x64):
    """Noise and all: the residual that is carried changes nothing."""
    recipe = dataclasses.replace(RECIPE, temperature=1.0)
    programs = sampler.build(SMALL, recipe, CELLS)
    data, keys, carry = programs.start(jnp.asarray([5]))
    first = jax.device_get(carry.chain)
    x, y = data.x[0], data.y[0]
    ends = jax.device_get(programs.advance(carry, data, keys, STEPS // 2)).chain
    prior = aeb.spike_slab(0.03, 10.0, a=1.5, b=4.0, nu=1.0, lam=1.0)
    kernel = aeb.build_kernel(
        aeb.empirical_bayes(
            aeb.sgld(recipe.step_size_at), prior, gain=recipe.gain_at, likelihood="gaussian"
        ),
        lambda beta, batch: 0.5 * jnp.mean(jnp.square(y - x @ beta)),
        num_data=len(y),
    )
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[0, 1]), first)
    for k in range(STEPS):
        state = kernel(state, (x, y), jax.random.fold_in(keys[0], k))
    np.testing.assert_allclose(ends.position[0, 1], state.position, rtol=1e-9)
    np.testing.assert_allclose(ends.latent.sigma[0, 1], state.latent.sigma, rtol=1e-9)


def test_cells_share_data_start_and_noise(x64):
    programs = sampler.build(SMALL, RECIPE, CELLS)
    data, keys, carry = programs.start(jnp.asarray([0, 1]))
    start = np.asarray(carry.chain.position)
    for c in range(1, len(CELLS)):
        np.testing.assert_array_equal(start[:, c], start[:, 0])
    np.testing.assert_array_equal(carry.chain.latent.sigma[0], [cell.sigma for cell in CELLS])
    # A data set is that of its seed, wherever it stands and whatever is run on it.
    again, other_keys, other = sampler.build(SMALL, RECIPE, CELLS[2:]).start(jnp.asarray([1, 2]))
    np.testing.assert_array_equal(data.x[1], again.x[0])
    np.testing.assert_array_equal(start[1, 0], other.chain.position[0, 0])
    assert keys[1] == other_keys[0]
    assert not np.array_equal(data.x[0], data.x[1])
    alone = designs.draw(SMALL, designs.data_key(0))  # not compiled, so rounded otherwise
    np.testing.assert_allclose(data.y[0], alone.y, rtol=1e-12)


def test_noise_is_fresh_at_each_step_and_data_set():
    eps = 1e-6  # so small that a step is noise and nothing else
    recipe = Recipe(
        num_steps=64, thinning=1, burn_in=0.0, interval_draws=64, step_size=eps, step_decay=0.0
    )
    programs = sampler.build(SMALL, recipe, CELLS)
    data, keys, carry = programs.start(jnp.asarray([0, 1]))
    draws = np.asarray(programs.advance(carry, data, keys, 64).whole[:, :, 0], np.float64)
    noise = np.diff(draws, axis=0) / np.sqrt(2 * eps)  # [steps, sets, columns]
    assert abs(np.mean(noise**2) - 1) < 5 * np.sqrt(2 / noise.size)
    for a, b in ((noise[1:], noise[:-1]), (noise[:, 0], noise[:, 1])):
        assert abs(np.mean(a * b)) < 5 / np.sqrt(a.size)


def test_scores_read_the_intervals_off_the_draws(x64):
    recipe = dataclasses.replace(RECIPE, level=0.5)
    cells = (Cell("sa", 0.1, 1.0), Cell("sgld", None, 1.0))
    data, _, carry = sampler.build(SMALL, RECIPE, cells).start(jnp.asarray([0, 1]))
    rng = np.random.default_rng(0)
    whole, signals = rng.normal(size=(9, 2, 2, 10)), rng.normal(size=(20, 2, 2, 3))
    rho = np.broadcast_to([0.9, 0.2, 0.6, 0.1, 0.1, 0.7, *[0.3] * 4], (2, 2, 10))
    mean, square = rng.normal(size=(2, 2, 10)), np.full((2, 2, 10), 12.0)
    carry = carry._replace(mean=mean, square=square, rho=rho, signals=signals, whole=whole)
    rows, plain = scores.score(SMALL, recipe, cells, data, carry, pictures=[False, True])
    row, place = rows[1], (1, 0)
    low, high = np.quantile(whole[:, *place], [0.25, 0.75], axis=0)
    low[:3], high[:3] = np.quantile(signals[:, *place], [0.25, 0.75], axis=0)
    beta = np.asarray(data.beta[1])
    assert row["intervals"] == interval_scores(beta, low, high, count=3)
    assert [signal["low"] for signal in row["beta"]] == list(low[:3])
    assert [signal["true"] for signal in row["beta"]] == list(beta[:3])
    assert row["beta"][0]["sd"] == pytest.approx(2.0)  # 12 over four draws less one
    assert (row["true_discoveries"], row["false_discoveries"]) == (2, 1)
    assert row["highest_null_inclusion"] == 0.7
    assert row["population_mse"] == designs.population_mse(SMALL, beta, mean[place])
    assert row["sigma_end"] == 1.0
    assert plain[1]["true_discoveries"] is plain[1]["beta"][0]["inclusion"] is None
    assert "picture" not in rows[0]
    picture = row["picture"]
    np.testing.assert_allclose(picture["draws"], signals[:, *place].T, rtol=1e-3)
    np.testing.assert_allclose(picture["mean"], mean[place], rtol=1e-3)
    np.testing.assert_allclose(picture["fresh_y"], data.fresh_y[1], rtol=1e-3)
    fitted = np.asarray(data.x[1]) @ mean[place]
    np.testing.assert_allclose(picture["train_prediction"], fitted, rtol=1e-3)
