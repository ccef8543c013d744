# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST: the arms, their runs, their scores, and the tables made of them.

Mutations that fail here, each tried: see the names of the tests and their first lines.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import aeb
import classification
import classification_table
import frame
import pictures
import report
from aeb.cli.usage import UsageError
from aeb.tree import named_leaves
from classification import PRESETS
from frame import rows as frame_rows
from pictures import ARMS, Cell, Images, Trained
from pictures import data as data_module
from pictures import kept as kept_module
from pictures.arms import build, step_size_at
from pictures.chains import STEPS
from pictures.networks import BLACK, ERASED, SPARSE, augmentation, standardise
from pictures.scores import area_under_roc, draws_of, mixture, score

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


@pytest.fixture(autouse=True, scope="module")
def quickly_compiled():
    """Compiling is most of the time here."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


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
    net = pictures.network(STILL, PLAIN)
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
    digits, clothes = (np.asarray(own(jax.random.key(0), images)) for own in of.values())
    assert digits.min() == pytest.approx(BLACK, abs=1e-5)
    assert not (digits == np.float32(ERASED)).any()
    assert (clothes == np.float32(ERASED)).any(axis=(1, 2, 3)).mean() == pytest.approx(0.5, abs=0.2)
    uneven = images.at[:, :, :14].set(0.0)
    digits, clothes = (np.asarray(own(jax.random.key(0), uneven)) for own in of.values())
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
        status = frame.main("classification", presets, ["--no-progress"], description="")
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
    real, saves = frame.Checkpoints.save_if_due, []

    def dies(self, step, tree):
        real(self, step, tree)
        saves.append(step)
        if step == 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(frame.Checkpoints, "save_if_due", dies)
    assert run("stopped")[0] == 130
    assert saves == [4, 8, 12]
    monkeypatch.setattr(frame.Checkpoints, "save_if_due", real)
    taken, sample = [], aeb.sample

    def counted(*args, **settings):
        taken.append(settings["num_steps"])
        return sample(*args, **settings)

    monkeypatch.setattr(aeb, "sample", counted)
    assert run("stopped") == (0, straight)
    assert taken == [4]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network by Adam, its recipe and images, on a shelf."""
    recipe = dataclasses.replace(FULL.recipe, dtype="float32")
    cell, images = PLAIN._replace(arm="vanilla"), pictures.images("digits", 40, 30, validate=True)
    shelf, folder = tmp_path_factory.mktemp("shelf"), tmp_path_factory.mktemp("work")
    arguments = (recipe, cell, 0, images, {"a": 1}, folder, shelf, 1e9, lambda amount: None)
    return recipe, cell, images, arguments, pictures.trained(*arguments)


def test_draws_are_those_of_their_steps(trained):
    """Fails if a draw is taken a step early or late, or put into the wrong row."""
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

    monkeypatch.setattr(kept_module, "train", trains)
    again = pictures.trained(*arguments)
    jax.tree.map(np.testing.assert_array_equal, again.network, found.network)
    assert again.commit == found.commit
    assert again.seconds == pytest.approx(found.seconds)
    for place, other in ((2, 1), (4, {"a": 2})):
        with pytest.raises(LookupError):
            pictures.trained(*arguments[:place], other, *arguments[place + 1 :])


# ---- images and scores -------------------------------------------------------------------------


def test_validation_images_are_training_images_that_are_left_out(monkeypatch):
    """Fails if they overlap, or the test images are looked at."""

    def part(first, size):
        image = np.arange(first, first + size, dtype=np.uint8).reshape(-1, 1, 1, 1)
        return {"image": image, "label": np.arange(first, first + size, dtype=np.int32)}

    sets = {"mnist": (part(0, 20), part(100, 9)), "fashion_mnist": (part(30, 20), part(200, 9))}
    monkeypatch.setattr(data_module, "_load", sets.__getitem__)
    own = pictures.images("mnist", 12, 8, validate=True)
    assert sorted([*own.train["label"], *own.label]) == list(range(20))
    np.testing.assert_array_equal(own.label, own.image.ravel())
    test = pictures.images("mnist", 12, 8, validate=False)
    np.testing.assert_array_equal(test.train["label"], own.train["label"])
    np.testing.assert_array_equal(test.label, range(100, 108))
    np.testing.assert_array_equal(test.other.ravel(), range(200, 208))
    with pytest.raises(UsageError, match="num_train"):
        pictures.images("mnist", 13, 8, validate=True)


def test_the_area_counts_pairs():
    """Fails if ties count whole or not at all, or the two sides are swapped."""
    rng = np.random.default_rng(0)
    low, high = rng.integers(0, 6, 50), rng.integers(2, 9, 30)
    truth = np.concatenate([np.zeros(50), np.ones(30)])
    expected = roc_auc_score(truth, np.concatenate([low, high]))
    assert area_under_roc(low, high) == pytest.approx(expected, rel=1e-12)


class Shifted:
    """A network whose logits are its draw, moved by the mean of the image."""

    def apply(self, variables, pixels):
        mean = pixels.reshape(len(pixels), -1).mean(axis=1, keepdims=True)
        return jnp.tanh(mean) * variables["params"]["fc1"]["kernel"][None, :]


def shifted(rho):
    """Two draws: weights of class 0 and of class 1, of share 1/4 and 3/4."""
    kernel = np.zeros((2, 10), np.float32)
    kernel[0, 0], kernel[1, 1] = 8.0, 8.0
    draws = {"params": {"fc1": {"kernel": kernel}}, "model_state": ()}
    latent = aeb.spike_slab(1.0, 1.0).init({"fc1": {"kernel": jnp.zeros(10)}})
    latent = latent._replace(rho={SPARSE: np.asarray(rho, np.float32)})
    return Trained(draws, np.array([0.25, 0.75], np.float32), latent, np.zeros((), np.float32))


def test_scores_are_of_the_right_images_and_draws():
    """Fails if last and average, own and other, or the sides of the cut are swapped."""
    white, black = (np.full((4, 28, 28, 1), value, np.uint8) for value in (255, 33))
    images = Images({}, white, np.array([1, 1, 1, 0], np.int32), black)
    rho = np.full(10, 0.9)
    rho[1] = 0.5
    found = score(Shifted(), shifted(rho), images)
    assert found["last"]["accuracy"] == 0.75
    one = mixture(Shifted(), draws_of(shifted(rho))[:1], white)[0]
    other = mixture(Shifted(), draws_of(shifted(rho))[1:], white)[0]
    both = 0.25 * one + 0.75 * other
    labels = images.label
    expected = -np.mean(np.log(both[labels]))
    assert float(found["average"]["nll"]) == pytest.approx(expected, rel=1e-5)
    assert found["average"]["auroc"] == 1.0  # black pixels are uncertain
    assert found["last"]["entropy_other"] > found["last"]["entropy"]
    assert found["sparse"]["share_out"] == pytest.approx(0.1)
    # Without its weight class 1 is not seen; of equal ones the first is taken.
    assert found["sparse"]["accuracy_after_cut"] == 0.25
    assert "sparse" not in score(Shifted(), shifted(np.full(10, 0.5)), images)


# ---- settings and tables -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sets", "cifar10"], "--sets"),
        (["--arms"], "arms"),
        (["--seeds", "0"], "seeds"),
        (["--num-scored", "0"], "num_scored"),
        (["--recipe.thinning", "7"], "thinning"),
        (["--recipe.batch-size", "301"], "batch_size"),
        (["--recipe.stretch", "0.5"], "stretch"),
        (["--recipe.counted", "0"], "counted"),
        (["--recipe.gain-exponent", "0.4"], "gain_exponent"),
        (["--recipe.num-train", "3000"], "num_train"),
    ],
)
def test_bad_settings_are_told(words, says, tmp_path, capsys):
    folders = ["--results", str(tmp_path), "--work", str(tmp_path), "--no-progress"]
    assert classification.main([*words, *folders]) == 2
    assert says in capsys.readouterr().err


def test_the_full_size_asks_for_the_papers_steps():
    recipe, cell = PRESETS["paper"].recipe, Cell("fashion_mnist", True, "sghmc_sa")
    assert recipe.steps(cell) == 60_000
    assert recipe.steps(cell._replace(set="mnist")) == 18_000
    assert recipe.draws(cell) == (120, 60)
    assert recipe.temperature(cell) == 1 / 2500
    assert recipe.temperature(cell._replace(set="mnist")) == 1 / 1000
    assert (recipe.v0, recipe.v1, recipe.sigma, recipe.batch_size) == (1e-3, 1.0, 0.1, 1000)


def made_up(settings, accuracy):
    """A row a cell and seed; `accuracy` maps arm and seed to that of the average."""
    rows = []
    for cell in settings.cells():
        for seed in settings.all_seeds():
            own = accuracy(cell.arm, seed)
            scores = {"nll": 0.25, "ece": 0.015, "entropy": 0.5, "entropy_other": 1.5, "auroc": 0.9}
            metrics = {
                "last": {"accuracy": own - 0.25, **scores},
                "average": {"accuracy": own, **scores},
                "draws": 5,
                "sparse": {
                    "share_out": 0.625,
                    "accuracy_after_cut": own - 0.5,
                    "sigma": 2.0,
                    "delta": 0.5,
                    "magnitudes": [0.0, 0.125, 1.0],
                },
            }
            made = {"cpu": "A", "cores": 1, "accelerator": None}
            values = ("classification", settings.preset, settings.config(cell), seed, "c", made)
            rest = ({"jax": "0"}, 7.0, metrics, "2026-01-01")
            rows.append(dict(zip(frame_rows.FIELDS, (*values, *rest), strict=True)))
    return rows


def test_the_report_says_what_was_not_run(tmp_path, capsys):
    assert report.main(["--results", str(tmp_path)]) == 0
    section = capsys.readouterr().out.split("## MNIST")[1].split("\n## ")[0]
    assert "| SGHMC-SA | not run (99.59) | not run (99.75) | not run (93.01) |" in section
    assert "| DA-FMNIST | 94.50 | not run | not run |" in section
    assert len(PRESETS["paper"].cells()) == 16
    assert section.count("not run") == 2 * 16 + 2 * 4


def test_the_tables_show_the_rows_and_judge_by_the_full_size(tmp_path):
    """Fails if an arm by Adam is shown by its average, or a sampled one by its last draw."""
    settings = dataclasses.replace(PRESETS["paper"], sets=("mnist",), augment=(False,))
    results = frame.Results(tmp_path / "classification.jsonl")
    results.append(made_up(settings, lambda arm, seed: 0.996 if arm == "sghmc_sa" else 0.75))
    section = classification_table.report("paper", results)
    assert "| Vanilla | 50.00 ± 0.00 (99.31) | not run (99.54) |" in section
    assert "| SGHMC | 75.00 ± 0.00 (99.47) |" in section
    assert "| MNIST | 99.60 | 99.60 | yes |" in section
    assert "| MNIST | 62.5 ± 0.0 % | 74.60 ± 0.00 | 49.60 ± 0.00 | 2.00 ± 0.00 | 0.500" in section
    line = "| MNIST | SGHMC-SA | average | 99.60 ± 0.00 | 0.250 ± 0.000 | 1.50 ± 0.00 | 0.500"
    assert line in section
    assert "not to be set against" in classification_table.report("cpu", results)
    assert set(classification_table.PAPER) == set(ARMS)
