# SPDX-License-Identifier: Apache-2.0
"""The arms of a comparison: train a network dense, then adapt and prune it in several ways.

All arms use the same sampler with different ingredients. They start from the same dense network,
take the same number of steps and rewind the learning rate in the same way:

    magnitude    no Bayes: momentum SGD with weight decay, the smallest weights pruned on a ramp
    em           the spike-and-slab prior by EM (gain 1), pruned on the same ramp
    sa           the same prior by stochastic approximation
    learned      no target: from half way on, each weight that the prior assigns to the spike is 0
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import aeb
from aeb import guards
from aeb.comparison.task import Task, evaluate
from aeb.files import checkpoint
from aeb.types import ArrayTree, Kernel, PRNGKey, ScalarOrSchedule, Sparsifier

__all__ = [
    "ARMS",
    "FRICTION",
    "LABELS",
    "Fit",
    "Recipe",
    "Stage",
    "arm_stage",
    "dense_stage",
    "fit",
    "momentum_sgd",
]

ARMS = ("magnitude", "em", "sa", "learned")

LABELS = {
    "dense": "dense",
    "magnitude": "magnitude",
    "em": "EM",
    "sa": "stochastic approximation",
    "learned": "learned sparsity",
}
"""The labels of the arms in tables and figures."""

FRICTION = 0.1
"""One minus the momentum, as in the paper."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of a compression, shared by all arms."""

    sparsity: float = 0.9
    """Fraction of all parameters to set to zero, in [0, 1)."""
    dense_epochs: int = 30
    """Epochs of dense training."""
    epochs: int = 30
    """Epochs of adapting and pruning, starting from the dense network."""
    batch_size: int = 64
    """Rows in a minibatch."""
    learning_rate: float = 0.05
    """Highest learning rate for the mean loss. It falls by a cosine, anew for each arm."""
    weight_decay: float = 5e-4
    """L2 penalty of the arms without the spike-and-slab prior, per example."""
    temperature: float = 1e-2
    """Temperature of the sampled arms, in [0, inf); 1 is the posterior, 0 is no noise."""
    v0: float = 0.01
    """Scale of the spike, about the size of a weight that may be pruned."""
    v1: float = 1.0
    """Variance of the slab."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        guards.share("sparsity", self.sparsity)
        guards.whole("dense_epochs", self.dense_epochs, 1)
        guards.whole("epochs", self.epochs, 1)
        guards.whole("batch_size", self.batch_size, 1)
        guards.positive("learning_rate", self.learning_rate)
        guards.positive("weight_decay", self.weight_decay)
        guards.at_least("temperature", self.temperature, 0.0)
        guards.positive("v0", self.v0)
        guards.positive("v1", self.v1)


class Fit(NamedTuple):
    """A trained network, and the history of its training."""

    state: aeb.State
    history: np.ndarray  # f32[epochs, 2]: sparsity over all parameters, accuracy on watched rows
    rho: dict[str, jax.Array] | None = None  # inclusion probabilities by path, if the prior has any


class Stage(NamedTuple):
    """One way to train, compiled once and used for every seed."""

    algorithm: aeb.Algorithm
    kernel: Kernel
    epochs: int
    ramp: Any = None  # count -> requested share of zeros; None without a target


Report = Callable[[float, str | None], None]
"""Called with the epochs since the last call, and a line for the progress bar or None."""

Log = Callable[[str, Mapping[str, Any]], Any]
"""Called with the name of a stage and a row of numbers after each of its epochs."""

BEATS = 10
"""The number of calls of a report per epoch."""


def dense_stage(task: Task, recipe: Recipe) -> Stage:
    """Build the stage of dense training: momentum SGD with weight decay."""
    return _stage(task, _plain(task, recipe, recipe.dense_epochs, None), recipe.dense_epochs)


def arm_stage(task: Task, recipe: Recipe, arm: str) -> Stage:
    """Build the stage of adapting and pruning by one of the arms.

    Args:
        task: network and data.
        recipe: the settings.
        arm: one of `ARMS`.

    Returns:
        A `Stage`.

    Raises:
        ValueError: there is no arm of that name.
    """
    guards.one_of("arms", arm, ARMS)
    steps = recipe.epochs * (task.num_data // recipe.batch_size)
    ramp = aeb.sparsity_ramp(recipe.sparsity, max(steps // 2, 1), until=1.0)
    # Why no weight returns: see the rule of `aeb.compress`.
    pruning = aeb.magnitude(ramp, scope="global", of="all", regrow=False)
    if arm == "magnitude":
        algorithm = _plain(task, recipe, recipe.epochs, pruning)
    else:
        algorithm = aeb.empirical_bayes(
            aeb.sghmc(_cosine(task, recipe, recipe.epochs), FRICTION, recipe.temperature),
            # Pruned weights would lower a learned sigma, and so raise the spike's pull
            # 1 / (v0 sigma). No penalty applies before rho is learned from the weights. No weight
            # is given up before the ramp asks for it.
            aeb.spike_slab(
                recipe.v0, recipe.v1, kappa0=0.0, learn_sigma=False, follow_ramp=arm != "learned"
            ),
            gain=1.0 if arm == "em" else aeb.robbins_monro(),
            sparsify=aeb.learned(begin=steps // 2) if arm == "learned" else pruning,
        )
    stage = _stage(task, algorithm, recipe.epochs)
    return stage if arm == "learned" else stage._replace(ramp=ramp)


def fit(
    task: Task,
    stage: Stage,
    params: ArrayTree,
    model_state: Any,
    key: PRNGKey,
    *,
    batch_size: int,
    folder: Path | None,
    report: Report,
    log: Callable[[Mapping[str, Any]], Any] | None = None,
) -> Fit:
    """Run the remaining epochs of a stage, with a checkpoint after each.

    Args:
        task: network and data.
        stage: how to train.
        params: the initial weights.
        model_state: the initial batch statistics.
        key: for minibatches, augmentation and noise.
        batch_size: rows in a minibatch.
        folder: where to keep checkpoints and resume from the last; None keeps none.
        report: called with the progress, several times per epoch.
        log: called with a row of numbers after each epoch.

    Returns:
        A `Fit`. Its history is measured on the held-out rows. If there are none, it is measured on
        as many training rows as there are test rows. The test rows are not used.
    """
    steps = task.num_data // batch_size
    watched = task.watched
    if watched is None:
        watched = {
            name: rows[: len(task.data.test[name])] for name, rows in task.data.train.items()
        }
    state = stage.algorithm.init(params, model_state)
    history = jnp.zeros((stage.epochs, 2))
    if folder is not None and checkpoint.latest_step(folder) is not None:
        _, (state, history) = checkpoint.restore(folder, (state, history))
    data = jax.tree.map(jnp.asarray, task.data.train)
    done = int(state.step) // steps
    report(float(done), "resumed" if done else None)
    told = done * steps

    def tick(state: aeb.State) -> None:
        nonlocal told
        now = int(state.step)
        report((now - told) / steps, None)
        told = now

    for epoch in range(done, stage.epochs):
        state, _ = aeb.sample(
            stage.kernel,
            state,
            data,
            key,
            num_steps=steps,
            batch_size=batch_size,
            callback=tick,
            callback_every=max(steps // BEATS, 1),
            missed="ignore",  # an epoch is only a part of the run
            progress=False,
        )
        metrics, _ = evaluate(task, state.position, state.model_state, watched)
        history = history.at[epoch].set(jnp.array([metrics.sparsity, metrics.accuracy]))
        if folder is not None:
            checkpoint.save(folder, int(state.step), (state, history))
        if log is not None:
            now = int(state.step)
            row: dict[str, Any] = {"step": now, "epoch": epoch + 1, "loss": metrics.nll}
            row |= {"accuracy": metrics.accuracy, "sparsity": metrics.sparsity}
            # The state after a step was pruned with the step count before it.
            log(row | {"target": None if stage.ramp is None else float(stage.ramp(now - 1))})
        report(
            0.0,
            f"loss {metrics.nll:.4f}, accuracy {metrics.accuracy:.2%}, "
            f"zeros {metrics.sparsity:.1%}",
        )
    inclusion = stage.algorithm.inclusion
    return Fit(state, np.asarray(history), None if inclusion is None else inclusion(state))


def momentum_sgd(
    step_size: ScalarOrSchedule,
    *,
    num_data: float,
    weight_decay: float,
    sparsify: Sparsifier | None,
    friction: float = FRICTION,
) -> aeb.Algorithm:
    """Build momentum SGD with weight decay: no noise, and a fixed Gaussian prior.

    Args:
        step_size: the learning rate for the mean loss, divided by the number of examples.
        num_data: N, the number of examples in the data set.
        weight_decay: L2 penalty per example on all weights except biases and scales.
        sparsify: sets weights to zero; None never prunes.
        friction: one minus the momentum.

    Returns:
        An `Algorithm`.
    """
    return aeb.empirical_bayes(
        aeb.sghmc(step_size, friction, temperature=0.0),
        aeb.gaussian(precision=weight_decay * num_data),
        gain=0.0,
        sparsify=sparsify,
    )


def _stage(task: Task, algorithm: aeb.Algorithm, epochs: int) -> Stage:
    """Bind an algorithm to the task's loss."""
    kernel = aeb.build_kernel(algorithm, task.loss_fn, num_data=task.num_data, has_aux=True)
    return Stage(algorithm, kernel, epochs)


def _plain(task: Task, recipe: Recipe, epochs: int, pruning: Any) -> aeb.Algorithm:
    """Build momentum SGD with a cosine that starts anew."""
    step_size = _cosine(task, recipe, epochs)
    return momentum_sgd(
        step_size, num_data=task.num_data, weight_decay=recipe.weight_decay, sparsify=pruning
    )


def _cosine(task: Task, recipe: Recipe, epochs: int) -> Any:
    """Return the schedule of the step size, which is the learning rate / N for N examples."""
    steps = epochs * (task.num_data // recipe.batch_size)
    peak = recipe.learning_rate / task.num_data
    # One step longer than the run: a step size of exactly 0 would waste the last step.
    return optax.schedules.cosine_decay_schedule(peak, steps + 1)
