# SPDX-License-Identifier: Apache-2.0
"""The compression script: its arms against numpy, and its data.

Mutations that fail here, each tried: see the names of the tests and their first lines.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import aeb
from aeb.comparison.task import Metrics
from aeb.models import ResNet
from benchmarks import harness
from benchmarks.compression import scores
from benchmarks.compression.arms import Stage, make_stage, rewound_step_size
from benchmarks.compression.network import make_setup
from benchmarks.compression.recipe import FULL_STEPS, Released, Rewound, spike_and_slab
from benchmarks.compression.released import (
    leaf_sparsity,
    released_algorithm,
    released_step_size,
    released_temperature,
)
from benchmarks.compression.run import PRESETS
from benchmarks.compression.training import Run, metrics_of, train

pytestmark = pytest.mark.quickly_compiled

TINY = dataclasses.replace(PRESETS["smoke"].size, compute="float32", num_images=50, num_test=40)


# ---- the authors' arms, a few steps against numpy ----------------------------------------------


def numpy_released(recipe, gain, start, grads, v0, v1, target, steps):
    """The recipe of the authors' code in float64, without noise; sigma sees unpruned weights."""
    conv, head = (np.array(leaf, float) for leaf in start)
    p, share = conv.size, steps / FULL_STEPS
    rho, kappa0, kappa1 = (np.full(conv.shape, c) for c in (0.5, 5e-4, 5e-4))
    delta, sigma, nu, beta = 0.5, 1.0, 1000 * p / 267_264, max(2.7e5 * p / 267_264, 1.0)
    velocity = [np.zeros_like(conv), np.zeros_like(head)]
    for k, (of_conv, of_head) in enumerate(grads):
        eps = recipe.step_size / share
        pull = kappa0 * np.sign(conv) / sigma + kappa1 * conv / sigma**2
        velocity[0] = 0.9 * velocity[0] + eps * (of_conv - pull)
        velocity[1] = 0.9 * velocity[1] + eps * (of_head - 5e-4 * 50_000 * head)
        conv, head = conv + velocity[0], head + velocity[1]
        omega = {"zero": 0.0, "one": 1.0, "falling": 0.02 * (1000 + k / share) ** -0.75 / share}
        w = omega[gain]
        slab = delta * stats.norm.pdf(conv, scale=np.sqrt(v1))
        spike = (1 - delta) * stats.laplace.pdf(conv, scale=v0)
        rho = (1 - w) * rho + w * slab / (slab + spike)
        kappa0 = (1 - w) * kappa0 + w * (1 - rho) / v0
        kappa1 = (1 - w) * kappa1 + w * rho / v1
        delta = (1 - w) * delta + w * (rho.sum() + beta - 1) / (2 * beta + p - 2)
        rb, j = np.sum(kappa0 * np.abs(conv)), np.sum(kappa1 * conv**2)
        ra, rc = p + nu + 2, j + nu * 1000
        root = (rb + np.sqrt(rb**2 + 4 * ra * rc)) / (2 * ra)
        sigma = np.sqrt((1 - w) * sigma**2 + w * root**2)
        zeros = round(target * (1 - 0.99 ** (k / (50 * share))) * p)
        conv = conv.copy()
        conv.flat[np.argsort(np.abs(conv), axis=None)[:zeros]] = 0
    return conv, head, rho, kappa0, kappa1, delta, sigma


@pytest.mark.parametrize("gain", ["zero", "one", "falling"])
def test_each_of_the_authors_arms_is_the_recipe_written_out(gain):
    """Fails at a lost L2, a density with sigma, sigma averaged plain, another gain or ramp."""
    rng = np.random.default_rng(0)
    conv = rng.normal(size=(3, 3, 4, 5)).astype("f") * 0.05
    head = rng.normal(size=(4,)).astype("f")
    params = {"block1_1": {"conv1": {"kernel": jnp.asarray(conv)}}, "head": {"bias": head}}
    recipe = dataclasses.replace(Released(), step_size=1e-8, inverse_temperature=1e30)
    algorithm, _, _ = released_algorithm(
        recipe, params, sparsity=0.9, gain=gain, anneal=False, epochs=4, epoch_steps=25
    )
    target = leaf_sparsity(0.9, params)
    grads = [
        (1e3 * rng.normal(size=conv.shape).astype("f"), 1e3 * rng.normal(size=4).astype("f"))
        for _ in range(5)
    ]
    state = algorithm.init(params)
    step = jax.jit(lambda state, grad, key: algorithm.transition(state, grad, key, num_data=5e4))
    for number, (of_conv, of_head) in enumerate(grads):
        grad = {"block1_1": {"conv1": {"kernel": of_conv}}, "head": {"bias": of_head}}
        state = step(state, grad, jax.random.key(number))
    expected = numpy_released(recipe, gain, (conv, head), grads, 0.005, 1e-5, target, 100)
    path, latent = "block1_1/conv1/kernel", state.latent
    found = (
        state.position["block1_1"]["conv1"]["kernel"],
        state.position["head"]["bias"],
        latent.rho[path],
        latent.kappa0[path],
        latent.kappa1[path],
        latent.delta[path],
        latent.sigma,
    )
    for value, leaf in zip(expected, found, strict=True):
        # Single precision against double, over five steps.
        np.testing.assert_allclose(leaf, value, rtol=2e-4, atol=2e-6)
    assert np.count_nonzero(np.asarray(found[0]) == 0) > 0


def test_a_shorter_run_keeps_what_the_whole_run_adds_up_to():
    """Fails if the step size, the gain, the ramp or the annealing does not stretch."""
    recipe, sums = Released(), {}
    params = {"block": {"conv1": {"kernel": jnp.ones((3, 3, 2, 2))}}, "head": jnp.ones(2)}
    for epochs, epoch_steps in ((1000, 50), (10, 50)):
        steps = epochs * epoch_steps
        step_size = jax.vmap(released_step_size(recipe, steps))(jnp.arange(steps))
        heat = released_temperature(recipe, epochs, epoch_steps, True)
        share = steps / FULL_STEPS
        gain = aeb.robbins_monro(0.02 * share**-0.25, 1000 * share, 0.75)
        ramp = aeb.sparsity_ramp(leaf_sparsity(0.7, params), every=50 * share)
        sums[epochs] = (
            float(step_size.sum()),
            float(step_size[: int(0.75 * steps)].sum()),
            float(heat(steps - 1) / heat(0)),
            float(jax.vmap(gain)(jnp.arange(steps)).sum()),
            float(ramp(steps // 3)),
        )
    # Sums of 500 terms against 50,000; one epoch more or less of annealing is 6 %.
    np.testing.assert_allclose(sums[10][:2], sums[1000][:2], rtol=1e-3)
    assert sums[10][2] == pytest.approx(1.005**-(900), rel=0.01)
    # A sum in 500 strides for one in 50,000, the first of them a tenth of A.
    np.testing.assert_allclose(sums[10][3:], sums[1000][3:], rtol=1e-2)
    assert sums[1000][3] == pytest.approx(0.75, abs=0.1)


def test_the_released_targets_and_scales():
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(ResNet(depth=20).init, jax.random.key(0), image)["params"]
    assert [leaf_sparsity(s, params) for s in (0.3, 0.5, 0.7, 0.9)] == [0.305, 0.509, 0.713, 0.917]
    assert spike_and_slab(0.9) == (0.005, 1e-5)
    assert spike_and_slab(0.98) == spike_and_slab(0.8) == (0.005, 1e-5)
    assert spike_and_slab(0.3) == (0.5, 1e-3)


# ---- our step size, and the teacher ------------------------------------------------------------


def test_the_rate_rises_falls_and_cycles_and_never_is_zero():
    recipe = Rewound(warmup=0.1, cycle_rate=0.5)
    rate = np.asarray(jax.vmap(rewound_step_size(recipe, 2.0, 100, 20))(jnp.arange(140)))
    assert rate.min() > 0
    assert np.argmax(rate) in (8, 9, 10)
    assert rate.max() == pytest.approx(2.0, rel=0.03)
    assert rate[99] < 0.005
    for start in (100, 120):
        assert rate[start] == pytest.approx(1.0)
        assert rate[start + 10] == pytest.approx(0.5, rel=0.1)
        assert rate[start + 19] < 0.03
    alone = np.asarray(jax.vmap(rewound_step_size(recipe, 2.0, 100, 0))(jnp.arange(100)))
    np.testing.assert_array_equal(alone, rate[:100])


PLAIN = dataclasses.replace(TINY, padding=0, flip=False, erasing=False)


@pytest.fixture(scope="module")
def plain():
    """A setup without augmentation."""
    return make_setup(PLAIN)


def test_the_teacher_adds_its_cross_entropy(plain, key):
    """Fails if the weights are swapped, the softness or its square is lost, or it is trained."""
    params, model_state = jax.jit(plain.task.init)(key)
    other, _ = jax.jit(plain.task.init)(jax.random.key(7))
    batch = {name: array[:20] for name, array in plain.train.items()}
    state = {**model_state, "teacher": {"params": other, **model_state}}
    hard, _ = jax.jit(plain.loss_fn)(params, batch, model_state, jax.random.key(1))
    none, kept = jax.jit(plain.taught(0.0, 2.0))(params, batch, state, jax.random.key(1))
    np.testing.assert_allclose(none, hard, rtol=1e-6)
    same = jax.tree.map(np.array_equal, kept["teacher"], state["teacher"])
    assert all(jax.tree.leaves(same))
    assert not np.array_equal(
        kept["batch_stats"]["stem_bn"]["mean"], model_state["batch_stats"]["stem_bn"]["mean"]
    )
    # The teacher speaks as in use, by its running moments; itself its student, 50 steps on.
    told = np.log(np.asarray(plain.task.probs(other, model_state, batch["image"]), float))
    aim = np.exp(told / 2) / np.exp(told / 2).sum(axis=1, keepdims=True)
    module = ResNet(depth=TINY.depth, widths=TINY.widths)
    images = aeb.data.normalizer("digits")(batch["image"])
    apply = jax.jit(functools.partial(module.apply, train=True, mutable=["batch_stats"]))
    logits, _ = apply({"params": params, **model_state}, images)
    soft = -np.mean(np.sum(aim * np.asarray(jax.nn.log_softmax(logits / 2)), axis=1))
    loss, _ = jax.jit(plain.taught(0.25, 2.0))(params, batch, state, jax.random.key(1))
    np.testing.assert_allclose(loss, 0.75 * hard + 0.25 * 4 * soft, rtol=1e-5)


# ---- data --------------------------------------------------------------------------------------


def test_no_image_is_both_trained_on_and_scored():
    """Fails if validation images come from the front of the order or from the test set."""
    digits = aeb.data.load("digits")
    size = dataclasses.replace(TINY, num_images=1000, num_validation=437)
    task = make_setup(size).task

    def named(images):
        return {image.tobytes() for image in images}

    train, scored = named(task.data.train["image"]), named(task.data.test["image"])
    assert len(task.data.train["label"]) == 1000
    assert len(task.data.test["label"]) == 437
    assert train | scored == named(digits.train["image"])
    assert not train & scored
    final = make_setup(dataclasses.replace(size, num_validation=0)).task
    assert named(final.data.train["image"]) == train
    assert np.array_equal(final.data.test["label"], digits.test["label"][:40])


def test_pooling_averages_pixels():
    whole = aeb.data.load("digits").test["image"][:40].astype(float)
    small = make_setup(dataclasses.replace(TINY, pool=2)).task.data.test["image"]
    assert small.shape == (40, 4, 4, 1)
    assert small.dtype == np.uint8
    np.testing.assert_allclose(small[:, 1, 0], whole[:, 2:4, :2].mean(axis=(1, 2)), atol=0.5)


# ---- what is measured --------------------------------------------------------------------------


def test_the_last_kick_is_split_into_noise_and_gradient(key):
    """Fails at a lost friction, temperature, factor 2, or where the noise is counted twice."""
    params = {"kernel": jnp.ones((100, 100))}
    size = dataclasses.replace(TINY, num_images=100, batch_size=100)
    eps, heat = 3e-3, 0.2
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(eps, 0.1, heat), aeb.spike_slab(1.0, 1e9, kappa0=0.0), gain=0.0
    )
    stage = Stage(algorithm, None, None, lambda count: eps, heat, 1, (), None)
    state = algorithm.init(params)
    for number in range(2):
        before = state
        grad = {"kernel": jnp.full((100, 100), 5.0)}
        state = algorithm.transition(
            state, grad, jax.random.fold_in(key, number), num_data=size.num_images
        )
    noise, step = scores.kick(stage, state, before.momentum)
    assert noise == pytest.approx(np.sqrt(2 * eps * 0.1 * heat))
    # 10,000 draws: the mean of their squares is known to 1.4 %, and the rest is that less noise^2.
    assert step**2 == pytest.approx((5 * eps) ** 2, abs=5 * 0.015 * (noise**2 + noise * 5 * eps))


def test_the_best_epoch_is_of_the_final_sparsity():
    history = np.zeros((4, len(scores.COLUMNS)))
    history[:, 0] = (1, 2, 3, 4)
    history[:, 1] = (0.9, 0.5, 0.7, 0.6)
    history[:, 4] = (0.5, 0.898, 0.9, 0.9)
    assert scores.best(history) == {"epoch": 3, "accuracy": 0.7}


def test_a_cut_by_rho_and_one_by_magnitude_leave_as_many_zeros(plain, key, monkeypatch):
    params, model_state = jax.jit(plain.task.init)(key)
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.spike_slab(0.1, 1.0))
    state = algorithm.init(params, model_state)
    rho = {
        path: jax.random.uniform(jax.random.key(number), leaf.shape)
        for number, (path, leaf) in enumerate(state.latent.rho.items())
    }
    state = state._replace(latent=state.latent._replace(rho=rho))
    seen = []

    def scored(task, params, model_state):
        seen.append(aeb.sparsity_report(params).zeros)
        return Metrics(len(seen) / 10, 0.0, 0.0, 0.0, 0), None

    monkeypatch.setattr(scores, "evaluate", scored)
    cut = scores.one_shot(plain.task, state)
    below = sum(int((leaf < 0.5).sum()) for leaf in rho.values())
    biases = aeb.sparsity_report(params).zeros
    assert seen == [biases, biases + below, biases + below]
    assert [cut[name] for name in ("before", "by_rho", "by_magnitude")] == [0.1, 0.2, 0.3]
    assert cut["sparsity"] == (biases + below) / aeb.sparsity_report(params).size
    summary = scores.of_latent(algorithm, state)
    assert summary["rho_share"] == pytest.approx(
        np.mean(np.concatenate([np.ravel(leaf) for leaf in rho.values()]) > 0.5)
    )


def test_the_arm_without_a_target_learns_and_cuts(plain, tmp_path):
    """Fails if labels and images part, or at a cut that comes at another epoch."""
    size = dataclasses.replace(
        PLAIN, num_images=400, epochs=24, evaluate_every=20, num_test=40, batch_size=20
    )
    setup = plain._replace(train=aeb_train(400))
    rewound = Rewound(v0=0.03)
    params, model_state = jax.jit(plain.task.init)(jax.random.key(3))
    stage = make_stage(setup, size, Released(), rewound, "aeb_learned", None, params)
    carry = train(
        Run(setup, size, stage, jax.random.key(0), refresh=1),
        params,
        model_state,
        harness.Checkpoints(tmp_path, 1e9),
        lambda epochs: None,
    )
    metrics = metrics_of(carry, stage, plain.task.data.test["label"])
    history = metrics["history"]
    assert [look["epoch"] for look in history] == [12, 20, 24]
    assert metrics["accuracy"] > 0.5  # chance is a tenth
    assert history[0]["sparsity"] < 0.01
    assert metrics["cut"]["before"] == history[0]["accuracy"]
    assert history[-1]["sparsity"] > 0.05
    weights = sum(leaf.size for leaf in carry.state.latent.rho.values())
    share = 1 - metrics["latent"]["rho_share"]
    # Biases that start at zero have moved; a weight in a thousand may sit at 0.5 just now.
    assert metrics["zeros"] / weights == pytest.approx(share, abs=2e-3)


def aeb_train(count):
    digits = aeb.data.load("digits").train
    return {name: jnp.asarray(array[:count]) for name, array in digits.items()}
