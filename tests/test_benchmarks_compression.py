# SPDX-License-Identifier: Apache-2.0
"""The compression script: its arms against numpy, its data, its runs, rows and tables.

Mutations that fail here, each tried: see the names of the tests and their first lines.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import aeb
import compress
import compressing
import compression_page
import compression_table
import frame
import report
from aeb.cli.task import Metrics
from aeb.models import ResNet
from compress import PRESETS, Cell
from compressing import ARMS, Released, Rewound, Size, Start, scores
from compressing.arms import rewound_step_size
from compressing.recipe import FULL_STEPS, spike_and_slab
from compressing.released import (
    leaf_sparsity,
    released_algorithm,
    released_step_size,
    released_temperature,
)
from frame import rows as frame_rows

TINY = dataclasses.replace(PRESETS["smoke"].size, compute="float32", num_images=50, num_test=40)


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    """Compiling is most of the time here, and no time is looked at."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


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
    """A problem without augmentation."""
    return compressing.make_problem(PLAIN)


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
    task = compressing.make_problem(size).task

    def named(images):
        return {image.tobytes() for image in images}

    train, scored = named(task.data.train["image"]), named(task.data.test["image"])
    assert len(task.data.train["label"]) == 1000
    assert len(task.data.test["label"]) == 437
    assert train | scored == named(digits.train["image"])
    assert not train & scored
    final = compressing.make_problem(dataclasses.replace(size, num_validation=0)).task
    assert named(final.data.train["image"]) == train
    assert np.array_equal(final.data.test["label"], digits.test["label"][:40])


def test_pooling_averages_pixels():
    whole = aeb.data.load("digits").test["image"][:40].astype(float)
    small = compressing.make_problem(dataclasses.replace(TINY, pool=2)).task.data.test["image"]
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
    stage = compressing.Stage(algorithm, None, None, lambda count: eps, heat, 1, (), None, False)
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
    summary = scores.of_latent(state.latent)
    assert summary["rho_share"] == pytest.approx(
        np.mean(np.concatenate([np.ravel(leaf) for leaf in rho.values()]) > 0.5)
    )


# ---- runs and rows -----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    def call(*words):
        places = ["--results", str(tmp_path / "rows"), "--work", str(tmp_path / "work")]
        return compress.main(["--preset", "smoke", "--no-progress", *places, *words])

    call.file = tmp_path / "rows" / "compression.jsonl"
    return call


def rows_of(file):
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "date")} for row in rows]


def test_slices_end_in_the_rows_of_a_straight_run(run, capsys):
    """Bytes, crops and erasing on the device, bf16, a teacher, cycles: the paper's code path."""
    words = ("--arms", "dense", "aeb_taught")
    assert run(*words) == 0
    straight = rows_of(run.file)
    run.file.unlink()
    codes = []
    while not codes or codes[-1] == 75:
        assert len(codes) < 20
        codes.append(run(*words, "--limit-seconds", "1e-9"))
    assert codes[-1] == 0
    # Two dense epochs in two slices; then four, each a slice.
    assert len(codes) >= 5
    assert "call the same command again" in capsys.readouterr().out
    assert rows_of(run.file) == straight
    dense, taught = straight
    assert taught["metrics"]["size"] == sum(taught["metrics"]["kept"].values()) + round(
        0.7 * taught["metrics"]["size"]
    )
    assert taught["metrics"]["average"]["samples"] == 2
    assert taught["metrics"]["average"]["accuracy"] > 0
    assert [look["epoch"] for look in taught["metrics"]["history"]] == [3, 4]
    assert taught["metrics"]["latent"]["sigma"] == 1.0
    assert taught["metrics"]["history"][0]["noise"] > 0
    assert dense["metrics"]["zeros"] == 0
    assert dense["metrics"]["latent"] is None


def test_the_arm_without_a_target_learns_and_cuts(plain, tmp_path):
    """Fails if labels and images part, or at a cut that comes at another epoch."""
    size = dataclasses.replace(
        PLAIN, num_images=400, epochs=24, evaluate_every=20, num_test=40, batch_size=20
    )
    problem = plain._replace(train=aeb_train(400))
    rewound = Rewound(v0=0.03)
    params, model_state = jax.jit(plain.task.init)(jax.random.key(3))
    stage = compressing.make_stage(problem, size, Released(), rewound, "aeb_learned", None, params)
    carry = compressing.train(
        problem,
        size,
        stage,
        Start(params, model_state, ()),
        jax.random.key(0),
        frame.Checkpoints(tmp_path, 1e9),
        lambda epochs: None,
        refresh=1,
    )
    metrics = compressing.metrics_of(carry, stage, plain.task.data.test["label"])
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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--arms", "adam"], "--arms"),
        (["--arms", "control"], "arms"),
        (["--max-seeds", "0"], "max_seeds"),
        (["--size.batch-size", "0"], "batch_size"),
        (["--size.num-images", "5"], "num_images"),
        (["--size.num-images", "5000"], "num_images"),
        (["--rewound.cycles", "9"], "cycles"),
        (["--rewound.ramp", "1"], "ramp"),
        (["--rewound.v0", "0"], "v0"),
        (["--released.step-size", "0"], "step_size"),
        (["--limit-seconds", "0"], "limit_seconds"),
        (["--preset", "paper", "--size.depth", "8", "--starts", "authors"], "authors"),
    ],
)
def test_wrong_options_are_one_line(run, words, says, capsys):
    assert run(*words) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert complaint.count("\n") == 1


def test_every_setting_that_matters_is_in_the_key():
    settings = PRESETS["cpu"]
    ours, theirs = Cell("aeb_taught", 0.9, "own"), Cell("a_sghmc_sa", 0.9, "own")
    own = frame.row_key(settings.config(ours), 5)
    assert frame.row_key(json.loads(json.dumps(settings.config(ours))), 5) == own
    keys = [own, frame.row_key(settings.config(theirs), 5)]
    keys += [frame.row_key(settings.config(ours._replace(sparsity=0.8)), 5)]
    keys += [frame.row_key(settings.config(ours._replace(start="authors")), 5)]
    for part, cell in (("size", ours), ("rewound", ours), ("released", theirs)):
        old = getattr(settings, part)
        for field in dataclasses.fields(old):
            value = (7, 7) if field.name == "falls" else 77
            value = (7, 7, 7) if field.name == "widths" else value
            changed = dataclasses.replace(old, **{field.name: value})
            other = dataclasses.replace(settings, **{part: changed})
            keys.append(frame.row_key(other.config(cell), 5))
    assert len(set(keys)) == len(keys)
    # The dense network that an arm starts from is the same whatever the arm's own settings are.
    dense = settings.config(Cell("dense", None, "own"))
    other = dataclasses.replace(
        settings,
        rewound=dataclasses.replace(settings.rewound, v0=0.5),
        size=dataclasses.replace(settings.size, epochs=77),
    )
    assert other.config(Cell("dense", None, "own")) == dense


def test_the_paper_preset_is_the_full_size_and_asks_for_all_that_is_compared():
    paper = PRESETS["paper"]
    assert (paper.size, paper.released) == (Size(), Released())
    assert paper.size.steps * paper.size.epochs == FULL_STEPS
    cells = dict(paper.cells())
    sparsities = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    for arm in ("a_sghmc", "a_sghmc_em", "sghmc_sa", "a_sghmc_sa"):
        assert all(Cell(arm, sparsity, "authors") in cells for sparsity in sparsities)
        assert Cell(arm, 0.9, "own") in cells
    for arm in ("control", "aeb"):
        assert all(Cell(arm, sparsity, "own") in cells for sparsity in sparsities)
        assert all(cells[Cell(arm, sparsity, "own")] == 5 for sparsity in (0.9, 0.95, 0.98))
    assert set(ARMS) == {cell.arm for cell in cells}
    for preset in PRESETS.values():
        preset.check()
        # Each cell once: a plan that names it twice would count its row twice.
        assert len(dict(preset.cells())) == len(preset.cells())
    assert {arm for arm, _ in compression_table.POSTER.items()} == set(compression_table.LOGS)


# ---- tables and figure -------------------------------------------------------------------------


def made_row(settings, cell, seed, accuracy, **more):
    look = {"epoch": 4.0, "noise": 0.5, "step": 1.0, "weight": 2.0}
    metrics = {
        "accuracy": accuracy, "nll": 0.5, "ece": 0.01, "sparsity": 0.9, "zeros": 900,
        "best_test_epoch": {"epoch": 4, "accuracy": accuracy + 0.01},
        "average": None, "latent": None, "cut": None, "history": [look],
    } | more  # fmt: skip
    made = {"cpu": "A", "cores": 1, "accelerator": None}
    config = settings.config(cell)
    values = ("compression", "paper", config, seed, "c", made, {"jax": "0"}, 7.0, metrics, "2026")
    return dict(zip(frame_rows.FIELDS, values, strict=True))


def test_the_report_and_the_figure_show_rows_and_gaps(tmp_path, capsys):
    words = ["--results", str(tmp_path), "--figures", str(tmp_path / "figures")]
    assert report.main(words) == 0
    section = capsys.readouterr().out.split("## Compression")[1].split("\n## ")[0]
    assert section.count("| 90.59 (89.10, 88.84) |") == 1
    assert "| 90 %, one network | 92.0 | not run | not run | not run |" in section
    settings = PRESETS["paper"]
    cells = settings.cells()
    assert section.count("not run") == len(cells) + 3 * 5
    assert not (tmp_path / "figures" / "compression.png").exists()

    average = {"samples": 4, "sparsity": 0.9, "accuracy": 0.925, "nll": 0.25, "ece": 0.02}
    latent = {"delta": {"a": 0.1, "b": 0.4}, "rho_share": 0.25, "rho_undecided": 0.125}
    cut = {"sparsity": 0.5, "before": 0.75, "by_rho": 0.625, "by_magnitude": 0.5}
    rows = [
        made_row(settings, Cell("dense", None, "own"), 0, 0.945, sparsity=0.0),
        made_row(settings, Cell("aeb_cycles", 0.9, "own"), 0, 0.91, average=average, latent=latent),
        made_row(settings, Cell("aeb_cycles", 0.9, "own"), 1, 0.93, average=average, latent=latent),
        made_row(settings, Cell("aeb_learned", None, "own"), 0, 0.9, latent=latent, cut=cut),
        made_row(settings, Cell("control", 0.9, "own"), 0, 0.9),
        made_row(settings, Cell("control", 0.9, "own"), 1, 0.88),
        made_row(settings, Cell("control", 0.9, "own"), 2, 0.1),
    ]
    frame.Results(tmp_path / "compression.jsonl").append(rows)
    assert report.main(words) == 0
    section = capsys.readouterr().out.split("## Compression")[1].split("\n## ")[0]
    assert "| dense | 94.50 (1) |" in section
    assert "92.00 ± 1.41 (2)" in section
    assert "| dense | 94.0 | dense | 94.50 (1) | yes |" in section
    assert "| 90 %, averaged | 92.4 | aeb, noise, cycles | 92.50 ± 0.00 (2) | yes |" in section
    assert "| aeb, noise, cycles | 90 % | 92.00 ± 1.41 | 92.50 ± 0.00 | 0.500" in section
    line = "| aeb, no target | - | 25.0% | 12.5% | 0.10 to 0.40 | 0.5 | 0.25 | 91.00 | 900 |"
    assert line in section
    line = "| aeb, no target | 50.00 | 75.00 | 62.50 | 50.00 | 90.00 (1) | 90.00 (1) |"
    assert line in section
    assert "| aeb, noise, cycles | 90 % | 3.00 ± 2.00 (2) |" in section
    assert (tmp_path / "figures" / "compression.png").stat().st_size > 10_000
    assert not (tmp_path / "figures" / "compression_reduced.png").exists()


def test_the_page_shows_the_rows_of_the_reduced_size(tmp_path):
    """Between its marks, and with the full preset's report too."""
    settings, results = PRESETS["cpu"], frame.Results(tmp_path / "compression.jsonl")
    names = list(compression_page.blocks(results))
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\n" for name in names))
    rows = [
        made_row(settings, Cell("control", 0.9, "own"), 0, 0.5),
        made_row(settings, Cell("aeb_rho", 0.9, "own"), 0, 0.625),
    ]
    results.append(rows)
    out = tmp_path / "out.md"
    words = ["--results", str(tmp_path), "--page", str(page), "--out", str(out)]
    assert report.main([*words, "--figures", str(tmp_path / "figures")]) == 0
    line = "| aeb, by rho | 90 % | 12.50 (1) |"
    assert line in page.read_text()
    assert line in out.read_text().split("### At a reduced size")[1]
    assert "old" not in page.read_text()
    assert (tmp_path / "figures" / "compression_reduced.png").stat().st_size > 10_000
