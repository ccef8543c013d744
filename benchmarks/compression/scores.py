# SPDX-License-Identifier: Apache-2.0
"""What is measured of a network and of the step that led to it."""

import functools
from typing import Any

import jax
import numpy as np

import aeb
from aeb.comparison.task import Task, evaluate
from aeb.evaluation.diagnostics import (
    accuracy,
    expected_calibration_error,
    negative_log_likelihood,
    temperature_scaled_nll,
)
from aeb.tree import select
from aeb.types import ArrayTree, every_weight
from benchmarks.compression.arms import Stage
from benchmarks.compression.recipe import FRICTION

COLUMNS = (
    "epoch",
    "accuracy",
    "nll",
    "ece",
    "sparsity",
    "loss",
    "noise",  # sd of the noise injected in the last step, per weight
    "step",  # root mean square of the gradient's part in it, over the same weights
    "weight",  # median magnitude of the weights that are not zero
    "scaled_nll",  # each half at the temperature that suits the other
)
"""What is kept of each look."""


def look(task: Task, stage: Stage, state: aeb.State, momentum: ArrayTree, epoch: int) -> np.ndarray:
    """Score a network after a step, given the momentum before it: f64[len(COLUMNS)]."""
    metrics, probs = evaluate(task, state.position, batch_stats(state))
    noise, step = kick(stage, state, momentum)
    weights = np.abs(np.concatenate([np.ravel(w) for w in select(state.position).values()]))
    row = (
        epoch,
        metrics.accuracy,
        metrics.nll,
        metrics.ece,
        metrics.sparsity,
        float(state.loss),
        noise,
        step,
        float(np.median(weights[weights > 0])) if weights.any() else 0.0,
        float(temperature_scaled_nll(probs, task.data.test["label"])),
    )
    return np.array(row)


def batch_stats(state: aeb.State) -> dict[str, Any]:
    """Return the part of the model state that the network itself has."""
    return {"batch_stats": state.model_state["batch_stats"]}


def of_probs(probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float(accuracy(probs, labels)),
        "nll": float(negative_log_likelihood(probs, labels)),
        "ece": float(expected_calibration_error(probs, labels)),
        "scaled_nll": float(temperature_scaled_nll(probs, labels)),
    }


def best(history: np.ndarray) -> dict[str, float]:
    """Find the highest test accuracy among the looks within .005 of the final sparsity."""
    near = history[np.abs(history[:, 4] - history[-1, 4]) < 0.005]
    top = near[np.argmax(near[:, 1])]
    return {"epoch": int(top[0]), "accuracy": float(top[1])}


def kept(params: ArrayTree) -> dict[str, Any]:
    """Count zeros over all parameters, and what is kept of each leaf."""
    report = aeb.sparsity_report(params)
    return {
        "size": report.size,
        "zeros": report.zeros,
        "sparsity": report.sparsity,
        "bytes": report.sparse_bytes,
        "kept": {leaf.path: leaf.size - leaf.zeros for leaf in report.leaves},
    }


def of_latent(algorithm: aeb.Algorithm, state: aeb.State) -> dict[str, Any] | None:
    """Summarise what the prior has learned; None where it has no rho."""
    inclusion, latent = algorithm.inclusion, state.latent
    if inclusion is None:
        return None
    rho = {path: np.asarray(leaf, float) for path, leaf in inclusion(state).items()}
    every = np.concatenate([leaf.ravel() for leaf in rho.values()])
    return {
        "sigma": float(latent.sigma),
        "delta": {path: float(rate) for path, rate in latent.delta.items()},
        "rho": {
            path: {"mean": float(leaf.mean()), "share": float(np.mean(leaf > 0.5))}
            for path, leaf in rho.items()
        },
        "rho_mean": float(every.mean()),
        "rho_share": float(np.mean(every > 0.5)),
        "rho_least": float(every.min()),
        "rho_most": float(every.max()),
        # The middle of the unit interval: a rho that has not made up its mind.
        "rho_undecided": float(np.mean((every > 0.1) & (every < 0.9))),
    }


def one_shot(task: Task, state: aeb.State) -> dict[str, float]:
    """Cut one network once by rho and, to as many zeros, by magnitude; score both untrained."""
    rule = aeb.learned()

    @jax.jit
    def cut(params: ArrayTree, latent: Any) -> ArrayTree:
        return rule.apply(params, (), latent.rho, (), 0, every_weight)[0]

    by_rho = cut(state.position, state.latent)
    share = aeb.sparsity_report(by_rho, None).sparsity
    by_magnitude = jax.jit(functools.partial(aeb.prune, sparsity=share))(state.position)
    scores = {
        name: evaluate(task, params, batch_stats(state))[0].accuracy
        for name, params in (
            ("before", state.position),
            ("by_rho", by_rho),
            ("by_magnitude", by_magnitude),
        )
    }
    return {"sparsity": aeb.sparsity_report(by_rho).sparsity, **scores}


def kick(stage: Stage, state: aeb.State, momentum: ArrayTree) -> tuple[float, float]:
    """Split the last kick, r' - (1 - alpha) r, into the sd of its noise and the gradient's part."""
    count = int(state.step) - 1
    eps = float(stage.step_size(count))
    heat = stage.temperature
    heat = float(heat(count) if callable(heat) else heat)
    # The B of the authors' code, eps / 2, is left out: a part in 10^7 of alpha.
    noise = (2.0 * eps * FRICTION * heat) ** 0.5
    old, new = select(momentum), select(state.momentum)
    kicks = np.concatenate(
        [
            np.ravel(np.asarray(new[p], float) - (1.0 - FRICTION) * np.asarray(old[p], float))
            for p in new
        ]
    )
    step = max(float(np.mean(np.square(kicks))) - noise**2, 0.0) ** 0.5
    return noise, step
