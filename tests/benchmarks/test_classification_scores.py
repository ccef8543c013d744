# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST: images, scores, options, and the tables made of the rows."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from made_up import made_up_row
from sklearn.metrics import roc_auc_score

import aeb
from aeb.evaluation.diagnostics import temperature_scaled_nll
from aeb.usage import UsageError
from benchmarks import harness
from benchmarks.images import data
from benchmarks.images import data as data_module
from benchmarks.images.classification import table as classification_table
from benchmarks.images.classification.run import PRESETS
from benchmarks.images.data import Images
from benchmarks.images.networks import SPARSE
from benchmarks.images.recipe import ARMS, Cell
from benchmarks.images.scores import area_under_roc, draws_of, mixture, score
from benchmarks.images.training import Trained

pytestmark = pytest.mark.quickly_compiled

# ---- images and scores -------------------------------------------------------------------------


def test_validation_images_are_training_images_that_are_left_out(monkeypatch):
    """Fails if they overlap, or the test images are looked at."""

    def part(first, size):
        image = np.arange(first, first + size, dtype=np.uint8).reshape(-1, 1, 1, 1)
        return {"image": image, "label": np.arange(first, first + size, dtype=np.int32)}

    sets = {"mnist": (part(0, 20), part(100, 9)), "fashion_mnist": (part(30, 20), part(200, 9))}
    monkeypatch.setattr(data_module, "_load", sets.__getitem__)
    held_out = data.images("mnist", 12, 8, validate=True)
    assert sorted([*held_out.train["label"], *held_out.label]) == list(range(20))
    np.testing.assert_array_equal(held_out.label, held_out.image.ravel())
    test = data.images("mnist", 12, 8, validate=False)
    np.testing.assert_array_equal(test.train["label"], held_out.train["label"])
    np.testing.assert_array_equal(test.label, range(100, 108))
    np.testing.assert_array_equal(test.other.ravel(), range(200, 208))
    with pytest.raises(UsageError, match="num_train"):
        data.images("mnist", 13, 8, validate=True)


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
    expected = temperature_scaled_nll(np.tile(both, (4, 1)), labels)
    assert float(found["average"]["scaled_nll"]) == pytest.approx(float(expected), rel=1e-5)
    assert found["average"]["auroc"] == 1.0  # black pixels are uncertain
    assert found["last"]["entropy_other"] > found["last"]["entropy"]
    assert found["sparse"]["share_out"] == pytest.approx(0.1)
    # Without its weight class 1 is not seen; of equal ones the first is taken.
    assert found["sparse"]["accuracy_after_cut"] == 0.25
    assert "sparse" not in score(Shifted(), shifted(np.full(10, 0.5)), images)


# ---- settings and tables -----------------------------------------------------------------------


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
        for seed in settings.seeds_of(cell):
            right = accuracy(cell.arm, seed)
            scores = {"nll": 0.25, "ece": 0.015, "entropy": 0.5, "entropy_other": 1.5, "auroc": 0.9}
            metrics = {
                "last": {"accuracy": right - 0.25, **scores},
                "average": {"accuracy": right, **scores},
                "draws": 5,
                "sparse": {
                    "share_out": 0.625,
                    "accuracy_after_cut": right - 0.5,
                    "sigma": 2.0,
                    "delta": 0.5,
                    "magnitudes": [0.0, 0.125, 1.0],
                },
            }
            config = settings.config(cell)
            rows.append(made_up_row("classification", settings.preset, config, seed, metrics))
    return rows


def test_the_report_says_what_was_not_run(tmp_path, section_of):
    section = section_of("MNIST", "--results", tmp_path)
    assert "| SGHMC-SA | not run (99.59) | not run (99.75) | not run (93.01) |" in section
    assert "| DA-FMNIST | 94.50 | not run | not run |" in section
    assert len(PRESETS["paper"].cells()) == 16
    assert section.count("not run") == 2 * 16 + 2 * 4 + 1


def test_the_tables_show_the_rows_and_judge_by_the_full_size(tmp_path):
    """Fails if an arm by Adam is shown by its average, or a sampled one by its last draw."""
    settings = dataclasses.replace(PRESETS["paper"], sets=("mnist",), augment=(False,))
    results = harness.Results(tmp_path / "classification.jsonl")
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
