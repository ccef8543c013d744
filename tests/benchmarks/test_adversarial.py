# SPDX-License-Identifier: Apache-2.0
"""The attacks: against foolbox, against each other's networks, their rows, table and figure.

Mutations that fail here, each tried: see the names of the tests and their first lines.
"""

import dataclasses
import importlib.util
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up import made_up_row

from benchmarks import harness
from benchmarks.images import data, networks, training
from benchmarks.images.adversarial import figure as adversarial_figure
from benchmarks.images.adversarial import run as adversarial
from benchmarks.images.adversarial import table as adversarial_table
from benchmarks.images.adversarial.attacks import Attacked, ascent, fgsm, negative_log_prob, pgd
from benchmarks.images.adversarial.run import LEVELS, PRESETS
from benchmarks.images.data import Images
from benchmarks.images.networks import logits_of
from benchmarks.images.recipe import ARMS, Cell
from benchmarks.images.scores import mixture
from benchmarks.images.training import Trained

pytestmark = pytest.mark.quickly_compiled

ZETAS = (0.05, 0.3)


class Small(nn.Module):
    """A network that bends, so that the steps of PGD differ."""

    @nn.compact
    def __call__(self, pixels):
        x = pixels.reshape(pixels.shape[0], -1)
        return nn.Dense(4)(jnp.tanh(nn.Dense(5, kernel_init=nn.initializers.normal(0.3))(x)))


NET = Small()


@pytest.fixture(scope="module")
def draws():
    """Three networks of unlike weights."""
    shape = jnp.zeros((1, 4, 4, 1))
    keys = jax.random.split(jax.random.key(0), 3)
    params = [NET.init(key, shape)["params"] for key in keys]
    return [
        (weight, {"params": tree, "model_state": ()})
        for weight, tree in zip((0.2, 0.3, 0.5), params, strict=True)
    ]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(size=(6, 4, 4, 1)).astype(np.float32)
    return pixels, rng.integers(0, 4, 6).astype(np.int32)


def needs_foolbox():
    missing = importlib.util.find_spec("foolbox") is None
    return pytest.mark.skipif(missing, reason="needs the extra `peers`")


@needs_foolbox()
@pytest.mark.parametrize("members", [1, 3])
def test_fgsm_and_pgd_are_foolboxs(draws, images, members):
    """Fails at a lost sign, clip, projection or step size, or shares without the weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of foolbox on its own imports
        import foolbox

    attacked, (pixels, label) = draws[:members], images
    total = sum(weight for weight, _ in attacked)

    def log_mixture(pixels):
        """The log of the average, whose softmax is the average."""
        return jnp.log(
            sum(
                weight / total * jax.nn.softmax(logits_of(NET)(draw, pixels))
                for weight, draw in attacked
            )
        )

    attacks = {
        "fgsm": foolbox.attacks.LinfFastGradientAttack(random_start=False),
        "pgd": foolbox.attacks.LinfPGD(steps=10, rel_stepsize=0.25, random_start=False),
    }
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"):
        warnings.simplefilter("ignore")
        with jax.numpy_rank_promotion("allow"):
            model = foolbox.JAXModel(log_mixture, bounds=(0, 1))
            theirs = {
                name: attack(model, jnp.asarray(pixels), jnp.asarray(label), epsilons=list(ZETAS))[
                    1
                ]
                for name, attack in attacks.items()
            }
    direction = ascent(NET, attacked, pixels, label)
    for place, zeta in enumerate(ZETAS):
        found = fgsm(pixels, direction, zeta)
        # Sums of a few float32 numbers below 1.
        np.testing.assert_allclose(found, theirs["fgsm"][place], atol=1e-6)
        found = pgd(NET, attacked, pixels, label, zeta)
        np.testing.assert_allclose(found, theirs["pgd"][place], atol=1e-6)
        assert np.abs(found - fgsm(pixels, direction, zeta)).max() > 0.01


def test_the_direction_is_the_gradient_through_the_average(draws, images):
    """Fails if members count by their weight alone, or the average is of gradients."""
    pixels, label = images

    def loss(pixels):
        probs = sum(w * jax.nn.softmax(logits_of(NET)(draw, pixels)) for w, draw in draws)
        return -jnp.sum(jnp.log(probs[jnp.arange(len(label)), label]))

    expected = jax.jit(jax.grad(loss))(pixels)
    np.testing.assert_allclose(ascent(NET, draws, pixels, label), expected, rtol=1e-4, atol=1e-6)


def test_a_network_sure_of_itself_still_tells_its_direction():
    """Fails if the loss is the usual log softmax, whose gradient is gone from 17 nats on."""
    logits, label = jnp.array([[40.0, 0.0, 1.0]]), jnp.array([0])
    value, grad = jax.value_and_grad(lambda z: negative_log_prob(z, label).sum())(logits)
    small = np.exp(-39.0) + np.exp(-40.0)
    assert float(value) == pytest.approx(small, rel=1e-5)
    expected = [-small, np.exp(-40.0), np.exp(-39.0)]
    np.testing.assert_allclose(grad[0], expected, rtol=1e-4)
    plain = negative_log_prob(jnp.array([[1.0, 2.0, 0.5]]), jnp.array([2]))
    assert float(plain[0]) == pytest.approx(float(-jax.nn.log_softmax(jnp.array([1, 2, 0.5]))[2]))


# ---- the protocols -----------------------------------------------------------------------------


def by_hand(draws, pixels, label, against, scored, predicted, zeta):
    """Count the right images under FGSM, the gradient by JAX."""
    target = mixture(NET, against, pixels).argmax(-1) if predicted else label

    def loss(x):
        probs = sum(w * jax.nn.softmax(logits_of(NET)(draw, x)) for w, draw in against)
        return -jnp.sum(jnp.log(probs[jnp.arange(len(label)), target]))

    moved = np.clip(pixels + zeta * np.sign(jax.jit(jax.grad(loss))(pixels)), 0, 1)
    return int((mixture(NET, scored, moved).argmax(-1) == label).sum())


def test_each_way_attacks_and_scores_the_networks_that_it_says(draws):
    """Fails if the authors' way scores the network attacked, a fair one the last draw alone, ..."""
    rng = np.random.default_rng(1)
    pixels = rng.uniform(size=(200, 4, 4, 1)).astype(np.float32)
    label = mixture(NET, draws, pixels).argmax(-1).astype(np.int32)
    label[:40] = rng.integers(0, 4, 40)  # so that predicted and true classes differ
    first, later, last = draws[:1], draws[1:], draws[-1:]
    for samples, whole in ((True, draws), (False, last)):
        found = Attacked(NET, draws, samples, (0.1,), (0.1,)).right(pixels, label)
        favoured = by_hand(draws, pixels, label, first, later, True, 0.1)
        last_alone = by_hand(draws, pixels, label, last, last, True, 0.1)
        fair = by_hand(draws, pixels, label, whole, whole, False, 0.1)
        assert favoured not in (last_alone, fair)
        assert last_alone != fair
        assert found["favoured"].tolist() == [favoured]
        assert found["authors"].tolist() == [favoured if samples else last_alone]
        assert found["fair"].tolist() == [fair]
        assert found["pgd"][0] <= fair
        right = (mixture(NET, whole, pixels).argmax(-1) == label).sum()
        assert found["clean"] == right
        nothing = Attacked(NET, draws, samples, (0.1,), (0.1,)).none()
        assert {n: c.shape for n, c in found.items()} == {n: c.shape for n, c in nothing.items()}


@pytest.fixture
def run(runs, monkeypatch, draws):
    """Run the smoke preset on a network that is not trained."""

    def kept(recipe, cell, seed, images, shelf, folder, report):
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(draw for _, draw in draws))
        weights = np.array([0.2, 0.3, 0.5], np.float32)
        return training.Kept(1.0, Trained(stacked, weights, (), np.zeros(())), "c")

    def images(name, num_train, num_scored, *, validate):
        rng = np.random.default_rng(2)
        image = rng.integers(0, 256, (num_scored, 4, 4, 1), dtype=np.uint8)
        return Images({}, image, rng.integers(0, 4, num_scored).astype(np.int32), image)

    monkeypatch.setattr(training, "kept", kept)
    monkeypatch.setattr(data, "images", images)
    monkeypatch.setattr(networks, "network", lambda recipe, cell: NET)
    return runs(adversarial)


def test_stopped_between_images_it_ends_in_the_same_rows(run, dies):
    """Fails if counts start anew, or images are attacked twice or left out."""
    assert run("--rows", "15") == 0
    straight = run.rows()
    assert len(straight) == 2
    one = straight[1]["metrics"]
    assert one["clean"] * 40 == pytest.approx(round(one["clean"] * 40))
    assert one["clean"] > one["fair"][1]
    run.file.unlink()
    saves = dies(lambda saves: len(saves) == 3)
    assert run("--rows", "15", "--checkpoint-every", "0") == 130
    assert saves == [15, 30, 15]
    dies.no_more()
    assert run("--rows", "15", "--checkpoint-every", "0") == 0
    assert run.rows() == straight
    run.file.unlink()
    assert run("--rows", "40") == 0
    assert run.rows() == straight


# ---- table and figure --------------------------------------------------------------------------


def made_up(settings):
    """A row a cell and seed, whose accuracies tell where they come from."""
    rows = []
    for cell in settings.cells():
        lead = 0.25 if ARMS[cell.arm].samples else 0.0
        for seed in settings.seeds_of(cell):
            curve = [0.5 + lead] * len(settings.levels)
            metrics = {
                "clean": 0.95,
                "authors": curve,
                "favoured": [0.625] * len(curve),
                "fair": [0.25 + lead / 2] * len(curve),
                "pgd": [0.0625 + lead / 4] * len(settings.pgd_levels),
            }
            config = settings.config(cell)
            rows.append(made_up_row("adversarial", settings.preset, config, seed, metrics))
    return rows


def test_the_report_shows_rows_and_gaps(tmp_path, section_of):
    """Fails if the ways are swapped, or the sentence does not follow the rows."""
    section = section_of("Under attack", "--results", tmp_path)
    assert section.count("not run") == 3
    results = harness.Results(tmp_path / "adversarial.jsonl")
    results.append(made_up(PRESETS["cpu"]))
    section = adversarial_table.report("paper", results)
    assert section.count("not run") == 2
    assert "| FGSM, as the authors | Vanilla | 95.0 | 50.0 (97) | 50.0 (93) |" in section
    assert "| FGSM, as the authors | SGHMC-SA | 95.0 | 75.0 (99) |" in section
    assert "| FGSM, the same favour to all | Vanilla | 95.0 | 62.5 | 62.5 |" in section
    assert "| FGSM, the same favour to all | SGHMC" not in section
    assert "| PGD, fair | SGHMC | 95.0 | 12.5 | 12.5 | - | 12.5 | - | 12.5 | - |" in section
    assert (
        "MNIST at 0.05: compared with Vanilla, SGHMC-SA is 25.0 points ahead under FGSM as the "
        "authors measure, 12.5 points ahead if FGSM is fair, and 6.2 points ahead under PGD. "
        "Attacked as the authors attack their own arm, Vanilla gains 12.5 points. Under PGD the "
        "best arm has 12.5 % there and 12.5 % at 0.3."
    ) in section
    files = adversarial_figure.figure("paper", results, tmp_path / "figures")
    assert [file.name for file in files] == list(adversarial_table.FIGURES)
    assert files[0].stat().st_size > 10_000
    assert adversarial_figure.figure("smoke", results, tmp_path / "none") == []


def test_a_negative_lead_is_said_as_being_behind():
    """Mutations: the sign of the number kept; ahead and behind swapped; no word for level."""
    said = [adversarial_table.ahead_or_behind(points) for points in (14.06, -0.44, -0.04, 0.04)]
    assert said == ["14.1 points ahead", "0.4 points behind", "level", "level"]


def test_the_papers_curves_have_a_point_a_level():
    curves = [
        curve
        for curves_of_set in adversarial_table.PAPER.values()
        for curve in curves_of_set.values()
    ]
    assert len(curves) == 8
    assert {len(curve) for curve in curves} == {len(LEVELS)} == {10}
    assert all(list(curve) == sorted(curve, reverse=True) for curve in curves)
    assert dataclasses.asdict(PRESETS["paper"])["num_scored"] == 10_000
    assert PRESETS["paper"].cells()[0] == Cell("mnist", False, "vanilla")
