# SPDX-License-Identifier: Apache-2.0
"""A run of one arm: its epochs, in slices that resume, the looks at it, its samples."""

import functools
from collections.abc import Callable, Iterator
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

PATIENCE = 5.0
"""Seconds that the epochs between two checks of the clock may take."""

START, STEPS, REFRESH = range(3)
"""What the key of a run is folded with."""


class Run(NamedTuple):
    """An arm, on what, and with which random numbers."""

    setup: Setup
    size: Size
    stage: Stage
    key: PRNGKey  # of minibatches, augmentation and noise
    refresh: int  # minibatches by which the BatchNorm statistics of a sample are refreshed


class Saved(NamedTuple):
    """What a checkpoint holds: all that the rest of a run needs."""

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
    run: Run,
    params: ArrayTree,
    model_state: Any,
    checkpoints: harness.Checkpoints,
    report: Callable[[int], Any],
) -> Saved:
    """Run an arm to its end, from the last checkpoint if there is one; `report` is told epochs."""
    size, stage = run.size, run.stage
    epochs = looks(stage, size)
    test = run.setup.task.data.test
    start = Saved(
        state=stage.algorithm.init(params, model_state),
        history=np.zeros((len(epochs), len(scores.COLUMNS))),
        probs=np.zeros((len(test["label"]), run.setup.task.data.num_classes), np.float32),
        sparsity=np.zeros(()),
        cut=np.zeros(4),
    )

    def slices(left: int) -> Iterator[int]:
        done = stage.epochs - left
        for due in (epoch for epoch in epochs if epoch > done):
            yield from harness.paced(due - done, PATIENCE)
            done = due

    def advance(saved: Saved, some: int) -> Saved:
        state, momentum = _advance(run, saved.state, some)
        done = int(state.step) // size.steps
        saved = saved._replace(state=state)
        if done in epochs:
            history = saved.history.copy()
            history[epochs.index(done)] = scores.look(run.setup.task, stage, state, momentum, done)
            saved = _looked(run, saved._replace(history=history), done)
        return saved

    return harness.run_in_slices(
        advance,
        start,
        lambda saved: int(saved.state.step) // size.steps,
        stage.epochs,
        checkpoints,
        report,
        slices,
    )


def metrics_of(saved: Saved, stage: Stage, labels: np.ndarray) -> dict[str, Any]:
    """Gather the metrics of a row from what a run that is over has saved."""
    history = [dict(zip(scores.COLUMNS, row.tolist(), strict=True)) for row in saved.history]
    final = history[-1]
    metrics = {name: final[name] for name in ("accuracy", "nll", "ece", "scaled_nll")}
    metrics |= scores.kept(saved.state.position)
    metrics["best_test_epoch"] = scores.best(saved.history)
    metrics["average"] = None
    if stage.samples:
        count = len(stage.samples)
        metrics["average"] = {
            "samples": count,
            "sparsity": float(saved.sparsity) / count,
            **scores.of_probs(saved.probs / np.float32(count), labels),
        }
    metrics["latent"] = scores.of_latent(stage.algorithm, saved.state)
    metrics["cut"] = None
    if stage.cut is not None:
        names = ("sparsity", "before", "by_rho", "by_magnitude")
        metrics["cut"] = dict(zip(names, saved.cut.tolist(), strict=True))
    return metrics | {"history": history}


def _advance(run: Run, state: aeb.State, epochs: int) -> tuple[aeb.State, ArrayTree]:
    """Take some epochs; also returns the momentum before the last step."""
    sample = functools.partial(
        aeb.sample,
        run.stage.kernel,
        data=run.setup.train,
        key=jax.random.fold_in(run.key, STEPS),
        batch_size=run.size.batch_size,
        missed="ignore",
        progress=False,
    )
    before, _ = sample(state, num_steps=epochs * run.size.steps - 1)
    momentum = jax.device_get(before.momentum)
    state, _ = sample(before, num_steps=1)
    return state, momentum


def _looked(run: Run, saved: Saved, done: int) -> Saved:
    """Take a sample and try the cut where they are due."""
    task, stage, state = run.setup.task, run.stage, saved.state
    if done in stage.samples:
        key = jax.random.fold_in(jax.random.fold_in(run.key, REFRESH), done)
        refresh = _refresher(stage.loss_fn, run.size.batch_size, run.refresh)
        model_state = refresh(state.position, state.model_state, run.setup.train, key)
        metrics, probs = evaluate(task, state.position, {"batch_stats": model_state["batch_stats"]})
        saved = saved._replace(
            probs=saved.probs + probs, sparsity=np.asarray(saved.sparsity + metrics.sparsity)
        )
    if stage.cut is not None and done * run.size.steps == stage.cut:
        saved = saved._replace(cut=np.array(list(scores.one_shot(task, state).values())))
    return saved


@functools.lru_cache(maxsize=8)
def _refresher(loss_fn: Any, batch_size: int, count: int) -> Any:
    """Make what forgets the running moments of BatchNorm in those of `count` minibatches."""

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
