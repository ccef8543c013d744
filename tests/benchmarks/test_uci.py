# SPDX-License-Identifier: Apache-2.0
"""The UCI script: its arms against numpy, its splits and scores.

Mutations that fail here, each tried: see the names of the tests and `MUTANTS`.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import aeb
from aeb.data import train_test_split
from benchmarks.uci import splits
from benchmarks.uci.arms import numbers_of, poster_chain, recommended_chain, setting_of
from benchmarks.uci.recipe import ARMS, Poster, Recommended, Shape
from benchmarks.uci.sampler import OneChain, Rows, build, uniform_start
from benchmarks.uci.scores import best_noise, log_likelihood, score
from benchmarks.uci.splits import SEEDS

HIDDEN, FEATURES, BATCH, NUM_DATA = 3, 2, 5, 40


def test_the_seeds_are_the_authors():
    assert SEEDS[:5] == (5, 55, 555, 5555, 6)
    assert SEEDS[-2:] == (999, 9999)
    assert len(set(SEEDS)) == 20


# ---- the arms, a few steps against numpy -------------------------------------------------------


def numpy_arm(arm, params, batches, v0, v1, eps):
    """The recipe written out in float64, without noise; U is the energy of `uci.arms`."""
    w1, b1, w2, b2 = (np.array(leaf, float) for leaf in params)
    rho, kappa0, kappa1 = ([np.full(w.shape, c) for w in (w1, w2)] for c in (0.5, 1e-4, 1e-4))
    delta, sigma = [0.5, 0.5], 10.0
    if arm == "sghmc":
        kappa0, sigma = [0 * k for k in kappa0], 1.0
    velocity = [np.zeros_like(leaf) for leaf in (w1, b1, w2, b2)]
    for k, (x, y) in enumerate(batches):
        before = x @ w1 + b1
        h = np.maximum(before, 0)
        residual = (h @ w2 + b2)[:, 0] - y
        rss = NUM_DATA / BATCH * np.sum(residual**2)
        out = 2 * NUM_DATA / BATCH * residual[:, None]
        back = (out @ w2.T) * (before > 0)
        grads = [x.T @ back, back.sum(0), h.T @ out, out.sum(0)]
        for place, (w, which) in {0: (w1, 0), 2: (w2, 1)}.items():
            grads[place] = grads[place] + kappa0[which] * np.sign(w) / sigma
            grads[place] = grads[place] + kappa1[which] * w / sigma**2
        grads[1] = grads[1] + 1e-4 * b1
        grads[3] = grads[3] + 1e-4 * b2
        velocity = [0.9 * v - eps * g for v, g in zip(velocity, grads, strict=True)]
        w1, b1, w2, b2 = (p + v for p, v in zip((w1, b1, w2, b2), velocity, strict=True))
        omega = {"sghmc": 0.0, "sghmc_em": 1.0, "sghmc_sa": (100 + k) ** -0.7}[arm]
        linear = quadratic = 0.0
        for i, w in enumerate((w1, w2)):
            slab = delta[i] * stats.norm.pdf(w, scale=np.sqrt(v1) * sigma)
            spike = (1 - delta[i]) * stats.laplace.pdf(w, scale=v0 * sigma)
            rho[i] = (1 - omega) * rho[i] + omega * slab / (slab + spike)
            kappa0[i] = (1 - omega) * kappa0[i] + omega * (1 - rho[i]) / v0
            kappa1[i] = (1 - omega) * kappa1[i] + omega * rho[i] / v1
            target = (rho[i].sum() + 1 - 1) / (1 + 10 + w.size - 2)
            delta[i] = (1 - omega) * delta[i] + omega * target
            linear += np.sum(kappa0[i] * np.abs(w))
            quadratic += np.sum(kappa1[i] * w**2)
        leading, constant = NUM_DATA + w1.size + w2.size + 1, rss + quadratic + 1
        root = (linear + np.sqrt(linear**2 + 4 * leading * constant)) / (2 * leading)
        sigma = (1 - omega) * sigma + omega * root
    return (w1, b1, w2, b2), rho, delta, sigma


def start_of(key, features=FEATURES, hidden=HIDDEN):
    params = uniform_start(key, features, hidden)
    layers = [params["fc1"], params["head"]]
    return params, [leaf for layer in layers for leaf in (layer["kernel"], layer["bias"])]


@pytest.mark.parametrize("arm", ["sghmc", "sghmc_em", "sghmc_sa"])
def test_each_arm_is_the_recipe_written_out(arm, key):
    """Fails if 2 sigma^2 is 1 or sigma^2, or at a lost L2, gain, start, a, b, nu or lam."""
    recipe = Poster(hidden=HIDDEN, step_size=2e-4)
    chain = poster_chain(recipe)
    numbers = numbers_of("concrete", arm, recipe)._replace(temperature=jnp.zeros(()))
    params, leaves = start_of(key)
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(BATCH, FEATURES)).astype("f"), 3 + rng.normal(size=BATCH).astype("f"))
        for _ in range(4)
    ]
    state = jax.jit(chain.init)(numbers, params)
    step = jax.jit(chain.step, static_argnums=4)
    for number, (x, y) in enumerate(batches):
        batch = {"features": jnp.asarray(x), "target": jnp.asarray(y)}
        state = step(numbers, state, batch, jax.random.key(number), NUM_DATA)
    expected, rho, delta, sigma = numpy_arm(arm, leaves, batches, 0.07, 10.0, 2e-4)
    found = state.position
    for value, leaf in zip(
        expected,
        [found[layer][kind] for layer in ("fc1", "head") for kind in ("kernel", "bias")],
        strict=True,
    ):
        # Single precision against double, over four steps.
        np.testing.assert_allclose(leaf, value, rtol=2e-5, atol=2e-6)
    if arm != "sghmc":
        for i, path in enumerate(("fc1/kernel", "head/kernel")):
            np.testing.assert_allclose(state.latent.rho[path], rho[i], rtol=2e-4)
            np.testing.assert_allclose(state.latent.delta[path], delta[i], rtol=2e-4)
    np.testing.assert_allclose(state.latent.sigma, sigma, rtol=2e-4)


def test_noise_and_annealing(key):
    """The noise of a step: its size, and 1.003^(-k / 2) of it after k steps in the A- arms."""
    recipe = Poster()
    chain = poster_chain(recipe)
    step = jax.jit(chain.step, static_argnums=4)
    params = uniform_start(key, 13, 50)
    batch = {"features": jnp.zeros((1, 13)), "target": jnp.zeros(1)}

    def moved(numbers, count):
        state = jax.jit(chain.init)(numbers, params)._replace(step=jnp.asarray(count, jnp.int32))
        new = step(numbers, state, batch, jax.random.key(3), 40)
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(new.momentum)])

    plain = numbers_of("energy", "sghmc", recipe)
    still = moved(plain._replace(temperature=jnp.zeros(())), 500)
    noise = moved(plain, 500) - still
    # 751 draws: their spread is known to 2.6 %.
    assert noise.std() == pytest.approx(np.sqrt(2 * 1e-5 * (0.1 - 5e-6) / 0.1), rel=5 * 0.026)
    annealed = moved(numbers_of("energy", "a_sghmc", recipe), 500) - still
    assert annealed.std() / noise.std() == pytest.approx(1.003**-250, rel=1e-3)


def test_the_recommended_step_is_momentum_sgd_on_the_mean_square(key):
    """At T = 0: h times the gradient of half the mean square, and sigma^2 / N of the prior's."""
    recipe = Recommended(hidden=HIDDEN, temperature=0.0, v0=0.5, v1=4.0)
    chain, numbers = recommended_chain(recipe), setting_of(recipe)
    params, _ = start_of(key)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(BATCH, FEATURES)), jnp.float32)
    y = jnp.asarray(10 * rng.normal(size=BATCH), jnp.float32)
    state = jax.jit(chain.init)(numbers, params)
    assert float(state.latent.sigma) == 10.0
    step = jax.jit(chain.step, static_argnums=4)
    new = step(numbers, state, {"features": x, "target": y}, jax.random.key(1), NUM_DATA)

    def predicted(params):
        h = jax.nn.relu(x @ params["fc1"]["kernel"] + params["fc1"]["bias"][None])
        return (h @ params["head"]["kernel"] + params["head"]["bias"][None])[:, 0]

    def energy(params):
        # rho starts at 1/2: kappa0 = 0.5 / v0 = 1, kappa1 = 0.5 / v1 = 1/8.
        weights = jnp.concatenate([params[layer]["kernel"].ravel() for layer in params])
        prior = jnp.sum(jnp.abs(weights)) / 10 + jnp.sum(weights**2) / 8 / 2 / 100
        return jnp.mean((predicted(params) - y) ** 2) / 2 + 100 / NUM_DATA * prior

    expected = jax.tree.map(lambda p, g: p - 0.01 * g, params, jax.jit(jax.grad(energy))(params))
    chex.assert_trees_all_close(new.position, expected, rtol=1e-5, atol=1e-6)
    # Towards the root of the paper: p = 9 weights, the squares scaled to all rows.
    rss = NUM_DATA * np.mean((np.asarray(jax.jit(predicted)(params)) - np.asarray(y)) ** 2)
    weights = np.concatenate([np.ravel(new.position[layer]["kernel"]) for layer in ("fc1", "head")])
    rho = np.concatenate([np.ravel(new.latent.rho[f"{layer}/kernel"]) for layer in ("fc1", "head")])
    omega = 100**-0.7
    kappa0, kappa1 = (1 - omega) + omega * (1 - rho) / 0.5, (1 - omega) / 8 + omega * rho / 4
    linear, leading = np.sum(kappa0 * np.abs(weights)), NUM_DATA + 9 + 1
    constant = rss + np.sum(kappa1 * weights**2) + 1
    root = (linear + np.sqrt(linear**2 + 4 * leading * constant)) / (2 * leading)
    assert float(new.latent.sigma) == pytest.approx((1 - omega) * 10 + omega * root, rel=1e-5)


def test_the_recommended_chains_have_alike_many_steps():
    recipe = Recommended(batch_size=100, draws=60, thinning=48, burn_in=0.5)
    for rows, every in ((40, 48), (277, 24), (455, 12), (1439, 3), (8611, 1)):
        assert recipe.shape(rows)[2:] == (recipe.chains, every, 60, 30)


def test_what_tells_the_arms_apart():
    cells = {arm: numbers_of("wine", arm, Poster()) for arm in ARMS}
    assert {arm: (float(c.lowest_gain), float(c.highest_gain)) for arm, c in cells.items()} == {
        "sghmc": (0, 0), "a_sghmc": (0, 0), "sghmc_em": (1, 1), "a_sghmc_em": (1, 1),
        "sghmc_sa": (0, 1), "a_sghmc_sa": (0, 1),
    }  # fmt: skip
    for arm, numbers in cells.items():
        assert float(numbers.anneal) == pytest.approx(1.003 if arm.startswith("a_") else 1.0)
        assert float(numbers.temperature) == 2.0
        assert float(numbers.v0) == pytest.approx(0.01)


# ---- splits, minibatches, draws ----------------------------------------------------------------


def test_standardised_by_the_rows_to_fit_alone(small_sets):
    train, new = train_test_split(splits.load("yacht"), seed=5)
    split = splits.split(train, new, target_scale=10.0)
    np.testing.assert_allclose(split.x[:, :2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(split.x[:, :2].std(axis=0), 1, rtol=1e-5)
    assert np.all(split.x[:, 2] == 0)
    back = split.x_new[:, :2] * train.features[:, :2].std(axis=0) + train.features[:, :2].mean(0)
    np.testing.assert_allclose(back, new.features[:, :2], rtol=1e-5)
    np.testing.assert_allclose(split.y * split.scale + split.centre, train.target, rtol=1e-6)
    assert split.y.mean() == pytest.approx(0, abs=1e-5)
    assert split.y.std() == pytest.approx(10, rel=1e-5)
    raw = splits.split(train, new, target_scale=None)
    np.testing.assert_allclose(raw.y, train.target, rtol=1e-6)
    assert np.array_equal(raw.y_new, new.target)


def test_held_out_rows_are_of_the_training_part(small_sets):
    for seed in SEEDS:
        train, test = train_test_split(splits.load("yacht"), seed=seed)
        fit, held_out = splits.hold_out("yacht", seed, 0.2)
        assert not set(test.target) & (set(fit.target) | set(held_out.target))
        assert sorted([*fit.target, *held_out.target]) == sorted(train.target)
        assert len(held_out.target) == 8


def test_an_epoch_takes_each_row_once_and_drops_the_remainder():
    """A model that counts rows instead of learning: one-hot features, summed into its kernel."""
    rows, batch_size = 7, 3

    def init(numbers, params):
        del numbers
        kernel = jnp.zeros_like(params["fc1"]["kernel"])
        params = {**params, "fc1": {**params["fc1"], "kernel": kernel}}
        return aeb.empirical_bayes(aeb.sgld(1.0), aeb.spike_slab(1.0, 1.0)).init(params)

    def step(numbers, state, batch, key, num_data):
        del numbers, key
        assert batch["features"].shape == (batch_size, rows)
        assert num_data == rows
        kernel = state.position["fc1"]["kernel"] + batch["features"].sum(axis=0)[:, None]
        position = {**state.position, "fc1": {**state.position["fc1"], "kernel": kernel}}
        return state._replace(step=state.step + 1, position=position)

    start, advance = build(OneChain(init, step), Shape(2, batch_size, 2, 1, 3, 1))
    x = jnp.tile(jnp.eye(rows), (4, 1, 1))
    data = Rows(x, jnp.zeros((4, rows)), x[:, :5])
    keys = jax.random.split(jax.random.key(0), 4)
    carry = start((), data, keys)
    seen = []
    for draws in (1, 1):
        carry = advance((), carry, data, keys, draws)
        seen.append(np.asarray(carry.state.position["fc1"]["kernel"])[..., 0])
    first, second = seen[0], seen[1] - seen[0]
    for counts in (first, second):
        assert set(np.unique(counts)) == {0.0, 1.0}
        assert np.all(counts.sum(axis=-1) == 6)
        # The chains of a split share its order; the splits do not.
        assert np.array_equal(counts[:, 0], counts[:, 1])
    left_out = np.argmin(np.concatenate([first[:, 0], second[:, 0]]), axis=1)
    assert len(set(left_out)) > 1
    # Chains start apart, and so do splits.
    heads = np.asarray(carry.state.position["head"]["kernel"]).reshape(8, -1)
    assert len(np.unique(heads, axis=0)) == 8
    assert carry.predictions.shape == (2, 4, 2, 5)
    carry = advance((), carry, data, keys, 1)
    kept = np.asarray(carry.predictions)
    position = jax.tree.map(lambda leaf: np.asarray(leaf)[1, 0], carry.state.position)
    hidden = np.maximum(np.eye(rows)[:5] @ position["fc1"]["kernel"] + position["fc1"]["bias"], 0)
    out = hidden @ position["head"]["kernel"] + position["head"]["bias"]
    np.testing.assert_allclose(kept[1, 1, 0], out[:, 0], rtol=1e-5)
    assert not np.array_equal(kept[0], kept[1])


def test_the_start_is_uniform_by_fan_in(key):
    params = uniform_start(key, 16, 500)
    for layer, bound in (("fc1", 0.25), ("head", 500**-0.5)):
        kernel = np.asarray(params[layer]["kernel"])
        assert 0.95 * bound < np.abs(kernel).max() <= bound
        assert np.abs(params[layer]["bias"]).max() <= bound
        # Of a uniform draw: five standard errors of its variance, sqrt(0.8 / n) of it.
        assert kernel.var() == pytest.approx(bound**2 / 3, rel=5 * (0.8 / kernel.size) ** 0.5)


# ---- scores ------------------------------------------------------------------------------------


def test_scores_by_hand():
    predictions = np.array([[0.0, 1.0], [2.0, 3.0]])
    noise, y = np.array([0.5, 2.0]), np.array([1.0, 1.0])
    density = np.mean([stats.norm.pdf(y, p, s) for p, s in zip(predictions, noise, strict=True)], 0)
    np.testing.assert_allclose(log_likelihood(predictions, noise, y), np.log(density))
    made = score(predictions, noise, y)
    assert made["rmse_last"] == pytest.approx(np.sqrt((1 + 4) / 2))
    assert made["rmse_average"] == pytest.approx(np.sqrt((0 + 1) / 2))
    assert made["log_likelihood"] == pytest.approx(np.log(density).mean())
    lost = score(np.array([[np.nan, 1.0]]), noise[:1], y)
    assert np.isnan([lost["rmse_last"], lost["log_likelihood"], lost["coverage"]]).all()


def test_the_noise_is_found_and_covers():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    y = truth + 0.7 * rng.normal(size=4000)
    predictions = truth + 0.1 * rng.normal(size=(20, 1))
    # 4,000 rows know the noise to 1.1 %.
    assert best_noise(predictions, y) == pytest.approx(0.7, rel=5 * 0.011)
    noise = np.full(20, best_noise(predictions, y))
    assert score(predictions, noise, y)["coverage"] == pytest.approx(0.9, abs=5 * 0.005)
    for factor in (0.9, 1.1):
        worse = log_likelihood(predictions, factor * noise, y).mean()
        assert worse < log_likelihood(predictions, noise, y).mean()
    assert np.isnan(best_noise(np.array([[np.inf]]), np.ones(1)))
