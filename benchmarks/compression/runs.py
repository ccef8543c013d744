# SPDX-License-Identifier: Apache-2.0
"""A run of one arm: its epochs, in slices that resume, the looks at it, its samples."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb.comparison.task import evaluate
from aeb.types import ArrayTree, PRNGKey
from benchmarks import harness
from benchmarks.compression import scores
from benchmarks.compression.arms import Stage
from benchmarks.compression.network import Setup
from benchmarks.compression.recipe import Size

__all__ = ["Carry", "Start", "looks", "metrics_of", "train"]

PATIENCE = 5.0
"""Seconds that the epochs between two checks of the clock may take."""

START, STEPS, REFRESH = range(3)
"""What the key of a run is folded with."""


class Start(NamedTuple):
    """Where an arm begins."""

    params: ArrayTree
    model_state: Any
    teacher: Any  # variables of the dense network, or ()


class Carry(NamedTuple):
    """All that the rest of a run needs."""

    state: aeb.State
    history: np.ndarray  # f64[looks, len(COLUMNS)]
    probs: np.ndarray  # f32[n, K]: sum over the samples taken
    sparsity: np.ndarray  # f64[]: of them, summed
    cut: np.ndarray  # f64[4]: sparsity and accuracies of `scores.one_shot`


def looks(stage: Stage, size: Size) -> list[int]:
    """List the epochs after which the network is scored, the last among them."""
    regular = range(size.evaluate_every, stage.epochs, size.evaluate_every)
    cut = [] if stage.cut is None else [stage.cut // size.steps]
    return sorted({*regular, *stage.samples, *cut, stage.epochs} - {0})


def train(
    setup: Setup,
    size: Size,
    stage: Stage,
    start: Start,
    key: PRNGKey,
    checkpoints: harness.Checkpoints,
    report: Callable[[int], Any],
    *,
    refresh: int,
) -> Carry:
    """Run an arm to its end, from the last checkpoint if there is one; the end is saved too.

    Args:
        setup: images and network.
        size: how large they are.
        stage: the arm.
        start: where it begins.
        key: of minibatches, augmentation and noise.
        checkpoints: where to save.
        report: called with epochs done.
        refresh: minibatches by which the BatchNorm statistics of a sample are refreshed.

    Returns:
        The carry after the last epoch.
    """
    epochs = looks(stage, size)
    model_state = dict(start.model_state)
    if stage.taught:
        model_state["teacher"] = start.teacher
    shape = (len(setup.task.data.test["label"]), setup.task.data.num_classes)
    carry = checkpoints.restore(
        Carry(
            state=stage.algorithm.init(start.params, model_state),
            history=np.zeros((len(epochs), len(scores.COLUMNS))),
            probs=np.zeros(shape, np.float32),
            sparsity=np.zeros(()),
            cut=np.zeros(4),
        )
    )
    done = int(carry.state.step) // size.steps
    report(done)
    for due in (epoch for epoch in epochs if epoch > done):
        for some in harness.paced(due - done, PATIENCE):
            state, momentum = _advance(setup, size, stage, carry.state, key, some)
            done += some
            carry = carry._replace(state=state)
            if done == due:
                carry = _looked(setup, size, stage, carry, momentum, key, epochs, done, refresh)
            report(some)
            if done < stage.epochs:
                checkpoints.save_if_due(done, carry)
    return carry


def metrics_of(carry: Carry, stage: Stage, labels: np.ndarray) -> dict[str, Any]:
    """Gather the metrics of a row from the carry of a run that is over."""
    history = [dict(zip(scores.COLUMNS, row.tolist(), strict=True)) for row in carry.history]
    final = history[-1]
    metrics = {name: final[name] for name in ("accuracy", "nll", "ece", "scaled_nll")}
    metrics |= scores.kept(carry.state.position)
    metrics["best_test_epoch"] = scores.best(carry.history)
    metrics["average"] = None
    if stage.samples:
        count = len(stage.samples)
        metrics["average"] = {
            "samples": count,
            "sparsity": float(carry.sparsity) / count,
            **scores.of_probs(carry.probs / np.float32(count), labels),
        }
    metrics["latent"] = scores.of_latent(carry.state.latent)
    metrics["cut"] = None
    if stage.cut is not None:
        names = ("sparsity", "before", "by_rho", "by_magnitude")
        metrics["cut"] = dict(zip(names, carry.cut.tolist(), strict=True))
    return metrics | {"history": history}


def _advance(
    setup: Setup, size: Size, stage: Stage, state: aeb.State, key: PRNGKey, epochs: int
) -> tuple[aeb.State, ArrayTree]:
    """Take some epochs; also returns the momentum before the last step."""
    sample = functools.partial(
        aeb.sample,
        stage.kernel,
        data=setup.train,
        key=jax.random.fold_in(key, STEPS),
        batch_size=size.batch_size,
        missed="ignore",
        progress=False,
    )
    before, _ = sample(state, num_steps=epochs * size.steps - 1)
    momentum = jax.device_get(before.momentum)
    state, _ = sample(before, num_steps=1)
    return state, momentum


def _looked(
    setup: Setup,
    size: Size,
    stage: Stage,
    carry: Carry,
    momentum: ArrayTree,
    key: PRNGKey,
    epochs: list[int],
    done: int,
    refresh: int,
) -> Carry:
    """Score the network; take a sample and try the cut where they are due."""
    task, state = setup.task, carry.state
    row = scores.look(task, stage, state, momentum, done)
    history = carry.history.copy()
    history[epochs.index(done)] = row
    carry = carry._replace(history=history)
    if done in stage.samples:
        refresh_key = jax.random.fold_in(jax.random.fold_in(key, REFRESH), done)
        model_state = _refreshed(setup, size, stage, state, refresh_key, refresh)
        metrics, probs = evaluate(task, state.position, {"batch_stats": model_state["batch_stats"]})
        carry = carry._replace(
            probs=carry.probs + probs, sparsity=np.asarray(carry.sparsity + metrics.sparsity)
        )
    if stage.cut is not None and done * size.steps == stage.cut:
        carry = carry._replace(cut=np.array(list(scores.one_shot(task, state).values())))
    return carry


def _refreshed(
    setup: Setup, size: Size, stage: Stage, state: aeb.State, key: PRNGKey, count: int
) -> Any:
    """Forget the running moments of BatchNorm in those of `count` minibatches."""
    return _refresher(stage.loss_fn, size.batch_size, count)(
        state.position, state.model_state, setup.train, key
    )


@functools.lru_cache(maxsize=8)
def _refresher(loss_fn: Any, batch_size: int, count: int) -> Any:
    @jax.jit
    def refresh(params: ArrayTree, model_state: Any, train: Any, key: PRNGKey) -> Any:
        rows = len(train["label"])

        def pass_over(number: Any, model_state: Any) -> Any:
            row_key, loss_key = jax.random.split(jax.random.fold_in(key, number))
            chosen = jax.random.choice(row_key, rows, (batch_size,), replace=False)
            batch = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), train)
            return loss_fn(params, batch, model_state, loss_key)[1]

        return jax.lax.fori_loop(0, count, pass_over, model_state)

    return refresh
