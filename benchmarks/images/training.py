# SPDX-License-Identifier: Apache-2.0
"""Train one network, keep the draws to predict by, and keep the network.

Every so many steps a draw is taken, and those after the burn-in are kept. For the arms by Adam
draws are the network at these steps; where their step size falls as that of the samplers does, they
are weighted alike. A run is one call of `aeb.sample`, so one that was stopped ends in the same
numbers.

`classification` scores the networks, `adversarial` attacks them; whichever comes first trains, and
puts them on a shelf. There a network is found again by its recipe, cell, seed and the versions of
what made it, not by the commit: so it brings along the commit it was trained at, which goes into
the rows. Delete the folder to train anew.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import aeb
from aeb import checkpoint
from aeb.files.atomic import replacing
from benchmarks import harness
from benchmarks.harness.rows import canonical
from benchmarks.images.arms import build, step_size_at
from benchmarks.images.data import Images
from benchmarks.images.recipe import ARMS, Cell, Recipe

START, STEPS = range(2)
"""What the key of a network is folded with."""


class Trained(NamedTuple):
    """A network after its run."""

    draws: Any  # tree that leads with K: params and model_state; the last is that of the last step
    weights: np.ndarray  # f32[K]: of each draw in the average, of sum 1
    latent: Any  # the prior's latents at the last step, or ()
    loss: np.ndarray  # f32[]: of the last minibatch


class Kept(NamedTuple):
    """A network, and where it comes from."""

    seconds: float  # of training
    network: Trained
    commit: str  # at which it was trained


def blank(recipe: Recipe, cell: Cell) -> Trained:
    """Make a network of the right shapes, all zero."""
    model = build(recipe, cell)
    state = jax.eval_shape(model.init, jax.random.key(0))
    taken, burn_in = recipe.draws(cell)
    kept = taken - burn_in

    def zeros(leaf: Any, *lead: int) -> np.ndarray:
        return np.zeros((*lead, *leaf.shape), leaf.dtype)

    return Trained(
        draws=jax.tree.map(lambda leaf: zeros(leaf, kept), _draw(state)),
        weights=np.zeros(kept, np.float32),
        latent=jax.tree.map(zeros, state.latent),
        loss=zeros(state.loss),
    )


def train(
    recipe: Recipe,
    cell: Cell,
    seed: int,
    images: Images,
    folder: Path,
    report: Callable[[int], Any],
) -> tuple[float, Trained]:
    """Train a network to its end, from what is in the folder; `report` is told steps.

    All arms of a seed share their start and their minibatches. Returns the seconds as well.
    """
    model, key = build(recipe, cell), jax.random.key(seed)
    _, burn_in = recipe.draws(cell)
    seconds, state, draws = harness.sample(
        folder,
        report,
        model.kernel,
        model.init(jax.random.fold_in(key, START)),
        images.train,
        jax.random.fold_in(key, STEPS),
        num_steps=recipe.steps(cell),
        batch_size=recipe.batch_size,
        collect=_draw,
        every=recipe.thinning,
        warmup=burn_in * recipe.thinning,
    )
    draws, latent, loss = jax.device_get((draws, state.latent, state.loss))
    return seconds, Trained(draws, weights_of(recipe, cell), latent, loss)


def weights_of(recipe: Recipe, cell: Cell) -> np.ndarray:
    """Weigh the draws that are kept, f32[K] of sum 1, by the step size where it falls."""
    taken, burn_in = recipe.draws(cell)
    counts = recipe.thinning * np.arange(burn_in + 1, taken + 1) - 1
    falls = ARMS[cell.arm].samples or recipe.adam_fall
    weights = np.asarray(step_size_at(recipe, counts)) if falls else np.ones(len(counts))
    return (weights / weights.sum()).astype(np.float32)


def kept(
    recipe: Recipe,
    cell: Cell,
    seed: int,
    images: Images,
    shelf: Path,
    folder: Path,
    report: Callable[[int], Any],
) -> Kept:
    """Take a network from the shelf, or train it and put it there; arguments as for `train`."""
    made = harness.stamp()
    config = {**cell._asdict(), "recipe": recipe.config()}
    name = hashlib.sha256(canonical([config, seed, made["versions"]]).encode()).hexdigest()[:16]
    place, note = shelf / name, shelf / f"{name}.json"
    if note.exists():
        like = (blank(recipe, cell), np.zeros(()))
        _, (network, seconds) = checkpoint.restore(place, like)
        report(recipe.steps(cell))
        return Kept(float(seconds), network, json.loads(note.read_text())["commit"])
    seconds, network = train(recipe, cell, seed, images, folder, report)
    checkpoint.save(place, recipe.steps(cell), (network, np.asarray(seconds)))
    # Last, so that a network without its note is not whole.
    with replacing(note) as file:
        text = json.dumps({"commit": made["commit"], "config": config, "seed": seed})
        file.write(text.encode())
    return Kept(seconds, network, made["commit"])


def _draw(state: aeb.State) -> dict[str, Any]:
    return {"params": state.position, "model_state": state.model_state}
