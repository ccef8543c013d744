# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST at full size and few epochs: the preset, the search, the tables.

Mutations that fail here: see the names of the tests and their first lines.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up import made_up_row

import aeb
from benchmarks import harness, summary
from benchmarks.images.adversarial import run as adversarial
from benchmarks.images.adversarial import table as adversarial_table
from benchmarks.images.arms import _adam, build
from benchmarks.images.classification import table
from benchmarks.images.classification.run import ADAM_STEPS, PRESETS, STEP_SIZES
from benchmarks.images.recipe import ARMS, Cell
from benchmarks.images.training import weights_of

FULL = PRESETS["full"]
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
CLOTHES = Cell("fashion_mnist", False, "sghmc_sa")


# ---- the preset and the search -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment", "tables"), [(None, table), (adversarial, adversarial_table)]
)
def test_rows_of_old_are_found_by_their_keys(experiment, tables):
    """Fails if a setting that came later is in the key of a row that does not use it."""
    settings = (experiment.PRESETS if experiment else PRESETS)["cpu"]
    name = experiment.NAME if experiment else "classification"
    rows = harness.found(settings, harness.Results(RESULTS / f"{name}.jsonl"))
    assert {len(seeds) for seeds in rows.values()} == {3}


def test_a_setting_that_is_used_is_in_the_key():
    assert FULL.config(CLOTHES)["recipe"]["adam_fall"] == "root"
    other = dataclasses.replace(FULL, recipe=dataclasses.replace(FULL.recipe, a=2.0))
    assert other.config(CLOTHES)["recipe"]["a"] == 2.0


def test_all_images_and_the_papers_networks_at_a_short_schedule():
    """Fails if fewer images are trained on, or N, networks or arms are not the paper's."""
    paper = PRESETS["paper"].recipe
    same = ("channels", "hidden", "channels_augmented", "hidden_augmented", "num_train", "counted")
    for name in (*same, "v0", "v1", "sigma", "inverse_temperature"):
        assert getattr(FULL.recipe, name) == getattr(paper, name), name
    assert FULL.num_scored == 10_000
    assert not FULL.validate
    assert {cell.arm for cell in FULL.cells()} == set(ARMS)
    steps = FULL.recipe.steps(CLOTHES)
    assert steps == 4800
    assert steps * FULL.recipe.stretch == paper.steps(CLOTHES) * paper.stretch
    assert [len(FULL.seeds_of(CLOTHES._replace(augment=da))) for da in (False, True)] == [3, 2]


def test_step_sizes_are_tried_on_images_held_out():
    """Fails if test images are looked at, or a trial has another N or sum of its gain."""
    trials = FULL.trials()
    for trial, cell in trials:
        trial.check()
        assert trial.config(cell)["scored_on"] == "validation"
        assert trial.recipe.num_train + trial.num_scored <= 60_000
        assert trial.recipe.counted * trial.recipe.num_train == pytest.approx(600_000)
        sums = [of.steps(cell) * of.stretch for of in (trial.recipe, FULL.recipe)]
        assert sums[0] == pytest.approx(sums[1])
    tried = [
        trial.recipe.step_size if cell.arm == "sghmc_sa" else trial.recipe.adam_step
        for trial, cell in trials
    ]
    assert tried == [*STEP_SIZES, *ADAM_STEPS] * 2
    units = dataclasses.replace(FULL, tune=True).units()
    keys = [harness.rows.row_key(*case) for unit in units for case in unit.cases]
    assert len(set(keys)) == len(keys) == len(trials)


def test_what_was_found_does_not_change_the_keys_of_the_search():
    """Fails if a trial of one arm carries the step size that the recipe has for the other."""
    found = dataclasses.replace(FULL.recipe, step_size=0.05, adam_step=0.002)
    moved = dataclasses.replace(FULL, recipe=found)
    configs = [
        [trial.config(cell) for trial, cell in settings.trials()] for settings in (FULL, moved)
    ]
    assert configs[0] == configs[1]


# ---- the arms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fall", [None, "root"])
def test_the_step_of_adam_falls_as_that_of_the_samplers(fall):
    """Fails if it falls where it should not, or a step early or late. Under a constant gradient a
    step of Adam is its step size."""

    def loss(params, batch, model_state, key):
        return params, model_state

    recipe = dataclasses.replace(FULL.recipe, adam_step=0.5, adam_fall=fall)
    begin, kernel = _adam(recipe, loss)
    state, step = begin(jnp.zeros(())), jax.jit(kernel)
    places = [0.0]
    for _ in range(32):
        state = step(state, None, jax.random.key(0))
        places.append(float(state.position))
    falls = np.arange(1, 33) ** -0.2 if fall else np.ones(32)
    np.testing.assert_allclose(-np.diff(places), 0.5 * falls, rtol=1e-3)
    assert falls[31] == pytest.approx(0.5 if fall else 1.0)


def test_draws_of_adam_are_weighted_as_those_of_the_samplers_where_both_fall():
    """Fails if averages of the two are over other draws or by other weights."""
    adam, sampler = (
        weights_of(FULL.recipe, CLOTHES._replace(arm=arm)) for arm in ("vanilla", "sghmc")
    )
    np.testing.assert_array_equal(adam, sampler)
    assert len(adam) == 6
    assert adam[0] > adam[-1]
    constant = dataclasses.replace(FULL.recipe, adam_fall=None)
    np.testing.assert_allclose(weights_of(constant, CLOTHES._replace(arm="vanilla")), 1 / 6)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, {"a": 627_200.0, "b": 627_200.0, "learn_sigma": True, "learn_delta": True}),
        ({"a": 2.0, "b": 3.0}, {"a": 2.0, "b": 3.0, "learn_sigma": True, "learn_delta": True}),
        ({"learns": "penalties"}, {"learn_sigma": False, "learn_delta": False}),
    ],
)
def test_hyper_parameters_are_learned_or_held(settings, asked, monkeypatch):
    """Fails if a or b is not what is set, or sigma or delta is learned where it is to be held."""
    seen, real = {}, aeb.spike_slab

    def spike_slab(*args, **words):
        seen.update(words)
        return real(*args, **words)

    monkeypatch.setattr(aeb, "spike_slab", spike_slab)
    build(dataclasses.replace(FULL.recipe, **settings), CLOTHES)
    assert seen.items() >= asked.items()


# ---- tables ------------------------------------------------------------------------------------


def scores(right):
    return {
        "accuracy": right,
        "nll": 0.25,
        "scaled_nll": 0.125,
        "ece": 0.015,
        "entropy": 0.5,
        "entropy_other": 1.5,
        "auroc": 0.9,
    }


def made_up(settings, cell, seed, right):
    """A row that no run has made."""
    sparse = {"share_out": 0.5, "accuracy_after_cut": 0.5, "sigma": 1.0, "delta": 0.5}
    metrics = {"last": scores(right - 0.25), "average": scores(right)}
    metrics["sparse"] = sparse | {"magnitudes": [0.0, 0.125, 1.0]}
    return made_up_row("classification", settings.preset, settings.config(cell), seed, metrics)


@pytest.fixture
def results(tmp_path):
    """Two networks of one arm, one of another, and two trials."""
    rows = [made_up(FULL, CLOTHES, seed, 0.75 + seed / 8) for seed in (0, 1)]
    rows += [made_up(FULL, CLOTHES._replace(arm="vanilla"), 0, 0.5)]
    rows += [made_up(trial, cell, 0, 0.625) for trial, cell in FULL.trials()[1:3]]
    found = harness.Results(tmp_path / "classification.jsonl")
    found.append(rows)
    return found


def test_averages_stand_beside_averages_and_last_beside_last(results):
    """Fails if the two are mixed up, or a cell that was not run has a number."""
    section = table.report("full", results)
    head = "| arm | FMNIST | DA-FMNIST | MNIST | DA-MNIST |"
    assert head in section
    lines = section.split(head)[1].splitlines()[2:10]
    assert lines[0].startswith("| SGHMC-SA, average | 81.25 ± 6.25 (2) | not run |")
    assert lines[1].startswith("| Vanilla, average | 50.00 (1) | not run |")
    assert lines[4].startswith("| SGHMC-SA, last | 56.25 ± 6.25 (2) |")
    assert "| FMNIST | 92.50 | 81.25 | no |" in section
    assert "| MNIST | 99.40 | not run | not run |" in section
    assert "| FMNIST | Vanilla | last | 1 | 25.00 | 0.250 | 0.125 |" in section


def test_trials_are_shown_apart_from_the_runs(results):
    """Fails if what is taken is not marked, or a trial counts as a run."""
    section = table.report("full", results)
    assert "| FMNIST | SGHMC-SA | 0.01 | 62.50 | 0.250 | 37.50 | 0.250 |" in section
    assert "| FMNIST | SGHMC-SA | 0.1 | 62.50 |" in section
    taken = dataclasses.replace(FULL.recipe, step_size=0.1)
    said = table._tried(
        dataclasses.replace(FULL, recipe=taken),
        {(trial.recipe, cell): [made_up(trial, cell, 0, 0.5)] for trial, cell in FULL.trials()},
    )
    assert said[0].count("| 0.1, taken |") == said[0].count("| 0.001, taken |") == 2
    assert said[0].count("taken") == 4
    assert "20,000 others for 2 epochs" in said[1]
    assert "5,000 training images" in said[1]


def test_without_rows_the_short_schedule_is_not_run(tmp_path):
    section = table.report("full", harness.Results(tmp_path / "none.jsonl"))
    assert section.count("not run") == 1


def test_the_findings_show_the_full_size_once_it_was_run(results, tmp_path):
    """Fails if the block is there without rows, or columns that were not run are in it."""
    block = "\n".join(summary._short_pictures(results.path.parent))
    assert "| arm | FMNIST |\n" in block
    assert "| SGHMC-SA, average | 81.25 ± 6.25 (2) |\n" in block
    assert "| Vanilla, last | 25.00 (1) |" in block
    assert summary._short_pictures(tmp_path / "none") == []


def test_attacks_say_of_how_many_networks_they_are(tmp_path):
    settings = adversarial.PRESETS["full"]
    assert settings.num_scored == 1000
    curve, few = [0.5] * len(settings.levels), [0.5] * len(settings.pgd_levels)
    metrics = {"clean": 0.9, "authors": curve, "favoured": curve, "fair": curve, "pgd": few}
    rows = harness.Results(tmp_path / "adversarial.jsonl")
    for seed, said in ((0, "mean over 1 seed, by"), (1, "mean over 1 to 2 seeds, by")):
        of = [CLOTHES, CLOTHES._replace(arm="vanilla")][: 2 - seed]
        rows.append(
            [
                made_up_row("adversarial", "full", settings.config(cell), seed, metrics)
                for cell in of
            ]
        )
        assert said in adversarial_table.report("full", rows)
