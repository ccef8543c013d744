# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST: the arms and their runs.

Mutations that fail here, each tried: see the names of the tests and their first lines.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from aeb.sampling import runner
from aeb.sampling.keeper import Keeper
from aeb.tree import named_leaves
from benchmarks import harness
from benchmarks.images import data, networks, training
from benchmarks.images.arms import build, step_size_at
from benchmarks.images.classification.run import PRESETS
from benchmarks.images.networks import BLACK, ERASED, SPARSE, augmentation, standardise
from benchmarks.images.recipe import Cell
from benchmarks.images.training import STEPS

pytestmark = pytest.mark.quickly_compiled

TINY = {"channels": (2, 2), "hidden": 6, "channels_augmented": (2, 2), "hidden_augmented": (6, 5)}

STILL = dataclasses.replace(
    PRESETS["smoke"].recipe,
    **TINY,
    dtype="float32",
    friction=1.0,
    inverse_temperature=(1e30, 1e30),
    counted=0.01,
)
"""Without momentum and noise, so that a step shows the gradient; the data weigh as three images."""

PLAIN = Cell("digits", False, "sghmc")


def batch_of(size=8):
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (size, 28, 28, 1), dtype=np.uint8)),
        "label": jnp.asarray(rng.integers(0, 10, size, dtype=np.int32)),
    }


# ---- the arms ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved():
    """Arm to positions before a step, the score eps g that moved them, and the state after."""

    def one(arm):
        model = build(STILL, PLAIN._replace(arm=arm))
        state = model.init(jax.random.key(0))
        state = state._replace(position=jax.tree.map(lambda leaf: leaf + 0.3, state.position))
        after = jax.jit(model.kernel)(state, batch_of(), jax.random.key(1))
        change = jax.tree.map(lambda new, old: new - old, after.position, state.position)
        return named_leaves(state.position), named_leaves(change), after

    return {arm: one(arm) for arm in ("sghmc", "sghmc_sa")}


def test_a_step_is_the_gradient_of_likelihood_and_prior(moved):
    """Fails if N(0, 1) is left out of a kernel or put on a bias, or images count once."""
    before, change, _ = moved["sghmc"]
    net = networks.network(STILL, PLAIN)
    params = build(STILL, PLAIN).init(jax.random.key(0)).position
    params = jax.tree.map(lambda leaf: leaf + 0.3, params)

    def loss(params):
        logits = net.apply({"params": params}, standardise(batch_of()["image"]))
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(8), batch_of()["label"]])

    grads = named_leaves(jax.jit(jax.grad(loss))(params))
    num_data = STILL.counted * STILL.num_train
    for path, leaf in before.items():
        prior = leaf / num_data if path.endswith("kernel") else 0.0
        expected = -STILL.step_size * (grads[path] + prior)
        # Single precision, seen in the difference of weights near 1.
        np.testing.assert_allclose(change[path], expected, rtol=1e-4, atol=1e-6, err_msg=path)


def test_spike_and_slab_starts_as_the_normal_prior_and_learns_at_its_stretched_gain(moved):
    """Fails if the spike is on at the start, a or b is not p, or the gain is not stretched."""
    _, change, after = moved["sghmc_sa"]
    for path, expected in moved["sghmc"][1].items():
        # sigma^2 goes in and out again.
        np.testing.assert_allclose(change[path], expected, rtol=1e-4, atol=1e-7, err_msg=path)
    assert list(after.latent.rho) == [SPARSE]
    rho = np.asarray(after.latent.rho[SPARSE], float)
    factor, alpha = STILL.stretch, STILL.gain_exponent
    omega = factor * STILL.gain_coefficient * STILL.gain_offset**-alpha
    target = (rho.sum() + rho.size - 1) / (3 * rho.size - 2)
    moved_by = float(after.latent.delta[SPARSE]) - 0.5
    # delta moves by 5e-5 from 0.5, whose last bit is 6e-8.
    assert moved_by == pytest.approx(omega * (target - 0.5), abs=1.2e-7)
    assert abs(moved_by) > 1e-6


def test_the_step_size_falls_as_the_fifth_root():
    recipe = dataclasses.replace(STILL, step_size=0.5)
    np.testing.assert_allclose(step_size_at(recipe, np.array([0, 31])), [0.5, 0.25], rtol=1e-6)


def test_augmentation_makes_up_pixels_that_each_set_knows():
    """Fails at another fill, a flip of digits, or an erasing of them."""
    images = jnp.full((64, 28, 28, 1), 2.0)
    of = {name: augmentation(Cell(name, True, "sghmc")) for name in ("mnist", "fashion_mnist")}
    digits, clothes = (np.asarray(augment(jax.random.key(0), images)) for augment in of.values())
    assert digits.min() == pytest.approx(BLACK, abs=1e-5)
    assert not (digits == np.float32(ERASED)).any()
    assert (clothes == np.float32(ERASED)).any(axis=(1, 2, 3)).mean() == pytest.approx(0.5, abs=0.2)
    uneven = images.at[:, :, :14].set(0.0)
    digits, clothes = (np.asarray(augment(jax.random.key(0), uneven)) for augment in of.values())
    assert (digits[:, 14, 20, 0] > 1).all()
    assert not (clothes[:, 14, 20, 0] > 1).all()
    assert augmentation(PLAIN) is None


# ---- runs --------------------------------------------------------------------------------------

FULL = dataclasses.replace(
    PRESETS["paper"],
    sets=("digits",),
    augment=(True,),
    arms=("sghmc_sa",),
    seeds=1,
    num_scored=30,
    progress=False,
    checkpoint_every=0.0,
    recipe=dataclasses.replace(
        PRESETS["paper"].recipe,
        **TINY,
        num_train=40,
        batch_size=10,
        epochs=4,
        epochs_augmented=(4, 4),
        thinning=4,
    ),
)
"""The paper preset at tiny size: the same path, bfloat16 and augmentation on the device."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    def go(name="one"):
        folder = tmp_path_factory.getbasetemp() / name
        presets = {"paper": dataclasses.replace(FULL, results=folder, work=folder)}
        status = harness.main("classification", presets, ["--no-progress"], description="")
        file = folder / "classification.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return status, [
            {name: row[name] for name in ("config", "seed", "metrics")}
            for row in map(json.loads, lines)
        ]

    return go


def computed_in(recipe):
    """The type of the convolutions of a training step."""
    model = build(recipe, FULL.cells()[0])
    state = jax.eval_shape(model.init, jax.random.key(0))
    text = str(jax.make_jaxpr(model.kernel)(state, batch_of(), jax.random.key(0)))
    types = {
        line.split(":")[1].split("[")[0] for line in text.splitlines() if "conv_general" in line
    }
    assert len(types) == 1, types
    return {"bf16": "bfloat16", "f32": "float32"}[types.pop()]


def test_the_full_size_path_stops_and_goes_on_to_the_same_rows(run, monkeypatch):
    """Fails if the checkpoint lacks the draws or the state, or the dtype is not that asked for."""
    status, straight = run("straight")
    assert status == 0
    (row,) = straight
    assert row["config"]["recipe"]["dtype"] == "bfloat16"
    assert computed_in(FULL.recipe) == "bfloat16"
    assert row["metrics"]["draws"] == 2
    assert row["metrics"]["last"] != row["metrics"]["average"]
    steps = []

    def save(self, state, draws):
        self.save(state, draws)
        steps.append(int(state.step))
        if len(steps) == 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keeper, "save_if_due", save)
    monkeypatch.setattr(runner, "LONGEST", 0.0)  # a step a call
    assert run("stopped") == (130, [])
    assert run("stopped") == (0, straight)
    assert steps == list(range(1, 17))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network by Adam, its recipe and images, on a shelf."""
    recipe = dataclasses.replace(FULL.recipe, dtype="float32")
    cell, images = PLAIN._replace(arm="vanilla"), data.images("digits", 40, 30, validate=True)
    shelf, work = (tmp_path_factory.mktemp(name) for name in ("shelf", "work"))
    arguments = (recipe, cell, 0, images, shelf, work, lambda amount: None)
    return recipe, cell, images, arguments, training.kept(*arguments)


def test_draws_are_those_of_their_steps(trained):
    """Fails if a draw is a step early or late, between two draws, or in the wrong row."""
    recipe, cell, images, _, found = trained
    model, key = build(recipe, cell), jax.random.key(0)
    state = model.init(jax.random.fold_in(key, 0))
    data, run_key = jax.tree.map(jnp.asarray, images.train), jax.random.fold_in(key, STEPS)
    for steps, place in ((12, 0), (4, 1)):  # of 16 steps, a draw each 4, the second half kept
        state, _ = aeb.sample(
            model.kernel, state, data, run_key, num_steps=steps, batch_size=10, progress=False
        )
        jax.tree.map(
            lambda leaf, row, at=place: np.testing.assert_array_equal(leaf, row[at]),
            state.position,
            found.network.draws["params"],
        )
    np.testing.assert_array_equal(found.network.weights, [0.5, 0.5])
    assert found.network.loss == state.loss


def test_a_network_on_the_shelf_is_not_trained_again(trained, monkeypatch):
    """Fails if another seed or recipe is taken for it, or what comes back differs in a bit."""
    *_, arguments, found = trained

    def trains(*args):
        raise LookupError

    monkeypatch.setattr(training, "train", trains)
    again = training.kept(*arguments)
    jax.tree.map(np.testing.assert_array_equal, again.network, found.network)
    assert again.commit == found.commit
    assert again.seconds == pytest.approx(found.seconds)
    recipe = dataclasses.replace(arguments[0], adam_step=0.5)
    for place, other in ((2, 1), (0, recipe)):
        with pytest.raises(LookupError):
            training.kept(*arguments[:place], other, *arguments[place + 1 :])
