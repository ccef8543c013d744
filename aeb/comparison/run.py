# SPDX-License-Identifier: Apache-2.0
"""Run every arm on every seed, and compare them.

The test rows are used once, at the end. Progress and the choice of the best arm use held-out
training rows. If no rows are held out, no arm is chosen.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

import aeb
from aeb import guards
from aeb.comparison.arms import (
    ARMS,
    LABELS,
    Fit,
    Log,
    Recipe,
    Report,
    Stage,
    arm_stage,
    dense_stage,
    fit,
)
from aeb.comparison.facts import network_facts
from aeb.comparison.task import Metrics, Task, evaluate, hold_out, make_task
from aeb.files.atomic import write_json
from aeb.files.sparse_file import save_sparse
from aeb.models import load_authors_resnet20

__all__ = ["Comparison", "Plan", "compare", "make_plan", "make_stages", "run_plan", "run_seed"]

LINES_APART = 1.0
"""The least number of seconds between two lines of progress, if there is no terminal."""


class Plan(NamedTuple):
    """A comparison that was checked but has not run yet."""

    task: Task
    recipe: Recipe
    stages: dict[str, Stage | None]  # the dense network and the arms; None for a given network
    title: str


class Comparison(NamedTuple):
    """The scores of all arms. `print` shows a table.

    Attributes:
        plan: the plan that was run.
        test: scores on the test rows, by arm, one per seed.
        validation: the same on the held-out training rows; None if there are none.
        fits: the networks of the last seed, by arm.
        probs: their predictions for the test rows, f32[n, K].
    """

    plan: Plan
    test: dict[str, list[Metrics]]
    validation: dict[str, list[Metrics]] | None
    fits: dict[str, Fit]
    probs: dict[str, np.ndarray]

    @property
    def best(self) -> str | None:
        """Return the arm with the highest accuracy on the held-out rows; None if there are none."""
        if self.validation is None:
            return None
        scores = {
            arm: (np.mean([run.accuracy for run in runs]), -np.mean([run.nll for run in runs]))
            for arm, runs in self.validation.items()
            if arm != "dense"
        }
        return max(scores, key=lambda arm: scores[arm])

    def __str__(self) -> str:
        """Show means over seeds on the test rows."""
        return _table(self.test, len(self.plan.task.data.test["label"]))

    def save(self, folder: Path) -> dict[str, str]:
        """Write the networks of the last seed, a figure and the numbers.

        Args:
            folder: the folder to write to. It must exist.

        Returns:
            A description of each file, by its name. `model.safetensors` is the best arm, if rows
            were held out to choose it.
        """
        from aeb.comparison.figure import draw  # matplotlib takes a second

        written: dict[str, str] = {}
        for arm, one in self.fits.items():
            about: dict[str, Any] = {"comparison": self.plan.title, "arm": arm}
            if self.validation is not None:
                about["validation_accuracy"] = self.validation[arm][-1].accuracy
            variables = {"params": one.state.position, **one.state.model_state}
            names = {f"{arm}.safetensors": LABELS[arm]}
            if arm == self.best:
                names["model.safetensors"] = f"the best arm by validation, {LABELS[arm]}"
            for name in names:
                save_sparse(folder / name, variables, metadata=about, module=self.plan.task.module)
            written |= names
        labels = self.plan.task.data.test["label"]
        watched = "training" if self.validation is None else "validation"
        title = f"{self.plan.title}: last seed, final epoch"
        draw(folder / "figure.png", self.fits, self.probs, labels, title, watched)
        results = {
            "title": self.plan.title,
            "settings": dataclasses.asdict(self.plan.recipe),
            "plan": {
                "num_data": self.plan.task.num_data,
                "num_held_out": self.plan.task.num_watched,
                "num_test": len(labels),
            },
            "best": self.best,
            "arms": _as_dicts(self.test),
            "validation": None if self.validation is None else _as_dicts(self.validation),
            "networks": {
                arm: network_facts(one.state.position, one.rho, self.probs[arm], labels)
                | {"rows": "test"}
                for arm, one in self.fits.items()
            },
        }
        write_json(folder / "results.json", results)
        return written | {"figure.png": "figure", "results.json": "every run's numbers"}


def compare(
    data: str = "digits",
    model: str = "cnn",
    recipe: Recipe | None = None,
    arms: Sequence[str] = ARMS,
    *,
    seeds: Sequence[int] = (0,),
    start: str = "scratch",
    validation: float | None = 0.1,
    limit: int | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> Comparison:
    """Train a network, compress it by every arm, and compare.

    Args:
        data: a name that `aeb.data.load` knows.
        model: "cnn" or "resnet20".
        recipe: the settings; None for those of `aeb demo`.
        arms: the ways to compress, from `ARMS`.
        seeds: the seeds. All arms run once per seed.
        start: "scratch" to train the dense network, "authors" for the ResNet20 of the paper's
            authors.
        validation: share of the training rows to hold out, in (0, 1); None holds out none.
        limit: how many of the first training and test images to use; None for all.
        folder: where to keep checkpoints and resume from; None keeps none.
        progress: whether to show a progress bar.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: an argument is out of its range.
    """
    recipe = Recipe() if recipe is None else recipe
    plan = make_plan(data, model, recipe, arms, start=start, validation=validation, limit=limit)
    return run_plan(plan, seeds, folder=folder, progress=progress)


def make_plan(
    data: str,
    model: str,
    recipe: Recipe,
    arms: Sequence[str],
    *,
    start: str = "scratch",
    validation: float | None = None,
    limit: int | None = None,
) -> Plan:
    """Load the data, build the arms, and check that each can start.

    Args:
        data: as in `compare`, like all other arguments.
        model: the network.
        recipe: the settings.
        arms: the ways to compress.
        start: where the dense network comes from.
        validation: share of the training rows to hold out; None holds out none.
        limit: how many of the first images to use.

    Returns:
        A `Plan`.

    Raises:
        ValueError: an argument is out of its range.
    """
    recipe.check()
    if limit is not None:
        guards.whole("limit_images", limit, 1)
    task = make_task(data, model, limit)
    if validation is not None:
        task = hold_out(task, validation)
    if recipe.batch_size > task.num_data:
        raise ValueError(
            f"batch_size: got {recipe.batch_size}, {data} has {task.num_data} training images"
        )
    stages = make_stages(task, recipe, arms, start)
    _check_reach(task, stages)
    return Plan(task, recipe, stages, f"{data}, {model}")


def run_plan(
    plan: Plan,
    seeds: Sequence[int],
    *,
    folder: Path | None = None,
    log: Callable[[int, str, Mapping[str, Any]], Any] | None = None,
    progress: bool = True,
) -> Comparison:
    """Run all arms of a plan on every seed, and score them.

    Args:
        plan: made by `make_plan`.
        seeds: one or more seeds. All arms run once per seed.
        folder: where to keep checkpoints and resume from; None keeps none.
        log: called with the seed, the stage and a row of numbers after each epoch.
        progress: whether to show a progress bar. If stderr is not a terminal, it is lines a second
            or more apart.

    Returns:
        A `Comparison`.
    """
    task, stages = plan.task, plan.stages
    test: dict[str, list[Metrics]] = {arm: [] for arm in stages}
    validation: dict[str, list[Metrics]] = {arm: [] for arm in stages}
    epochs = len(seeds) * sum(stage.epochs for stage in stages.values() if stage)
    form = (
        "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} epochs [{elapsed}<{remaining}{postfix}]"
    )
    has_bar = sys.stderr.isatty()
    with tqdm(total=epochs, bar_format=form, disable=not (progress and has_bar)) as bar:
        done, began, told = 0.0, time.monotonic(), -math.inf

        def report(passed: float, news: str | None) -> None:
            nonlocal done, told
            passed = min(passed, epochs - done)  # the sum of shares of an epoch is rounded
            done += passed
            bar.update(passed)
            if news is None or not progress:
                return
            bar.set_postfix_str(news)
            now = time.monotonic()
            if not has_bar and (now - told >= LINES_APART or done >= epochs):
                told = now
                left = (now - began) / max(done, 1.0) * (epochs - done)
                time_left = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
                line = f"seed {seed}: {news}, {done:.0f} of {epochs} epochs, {time_left} left"
                print(line, file=sys.stderr, flush=True)

        for seed in seeds:
            bar.set_description(f"seed {seed}")
            place = None if folder is None else folder / f"seed-{seed}"
            seed_log = None if log is None else functools.partial(log, seed)
            fits = run_seed(task, plan.recipe, stages, seed, place, report, seed_log)
            probs = {}
            for arm, one in fits.items():
                metrics, probs[arm] = evaluate(task, one.state.position, one.state.model_state)
                test[arm].append(metrics)
                if task.watched is not None:
                    metrics, _ = evaluate(
                        task, one.state.position, one.state.model_state, task.watched
                    )
                    validation[arm].append(metrics)
    held_out = None if task.watched is None else validation
    return Comparison(plan, test, held_out, fits, probs)


def make_stages(
    task: Task, recipe: Recipe, arms: Sequence[str], start: str = "scratch"
) -> dict[str, Stage | None]:
    """Build the stage of dense training and the arms; None if the dense network is the authors'."""
    dense = dense_stage(task, recipe) if start == "scratch" else None
    return {"dense": dense} | {arm: arm_stage(task, recipe, arm) for arm in arms}


def _check_reach(task: Task, stages: Mapping[str, Stage | None]) -> None:
    """Check that every arm can start, before training the first."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    params, model_state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    try:
        for stage in filter(None, stages.values()):
            stage.algorithm.init(params, model_state)
    except ValueError as error:
        # The user gave a sparsity, not a ramp. So the message speaks of the sparsity.
        raise ValueError(str(error).replace("ramp:", "sparsity:", 1)) from error


def run_seed(
    task: Task,
    recipe: Recipe,
    stages: Mapping[str, Stage | None],
    seed: int,
    folder: Path | None,
    report: Report,
    log: Log | None = None,
) -> dict[str, Fit]:
    """Train the dense network, then every arm from it.

    Args:
        task: network and data.
        recipe: the settings.
        stages: made by `make_stages`.
        seed: the seed of initial weights, minibatches and noise. All arms share the minibatches and
            the noise.
        folder: where to keep checkpoints and resume from; None keeps none.
        report: called with the progress.
        log: called with the stage and a row of numbers after each epoch.

    Returns:
        A `Fit` for each stage.
    """
    fits: dict[str, Fit] = {}
    for arm, stage in stages.items():
        if stage is None:
            fits[arm] = _authors()
            continue
        begin = fits["dense"].state if fits else None
        params, model_state = (
            task.init(jax.random.key(seed))
            if begin is None
            else (begin.position, begin.model_state)
        )
        fits[arm] = fit(
            task,
            stage,
            params,
            model_state,
            jax.random.fold_in(jax.random.key(seed), arm == "dense"),
            batch_size=recipe.batch_size,
            folder=folder / arm if folder else None,
            # The default binds the arm of this turn. mypy cannot infer a lambda with a default.
            report=lambda passed, news, arm=arm: report(  # type: ignore[misc]
                passed, None if news is None else f"{arm} {news}"
            ),
            log=None if log is None else functools.partial(log, arm),
        )
    return fits


def _authors() -> Fit:
    """Return the authors' dense ResNet20 as a fit without a history."""
    params, batch_stats = load_authors_resnet20()
    algorithm = aeb.empirical_bayes(aeb.sgld(1.0), aeb.gaussian(), gain=0.0)
    return Fit(algorithm.init(params, {"batch_stats": batch_stats}), np.zeros((0, 2)))


def _as_dicts(scores: Mapping[str, list[Metrics]]) -> dict[str, list[dict[str, Any]]]:
    return {arm: [run._asdict() for run in runs] for arm, runs in scores.items()}


def _table(rows: Mapping[str, list[Metrics]], num_test: int) -> str:
    """Write a table of means over seeds, with the standard deviation of the accuracy."""
    lines = [f"{'':<26}{'accuracy %':>16}{'NLL':>9}{'ECE %':>8}{'zeros %':>9}{'bytes':>12}"]
    for arm, runs in rows.items():
        values: Any = np.array(runs, float)
        mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1 if len(runs) > 1 else 0)
        correct = f"{100 * mean[0]:.2f}"
        if len(runs) > 1:
            correct += f" +- {100 * spread[0]:.2f}"
        numbers = f"{mean[1]:>9.4f}{100 * mean[2]:>8.2f}{100 * mean[3]:>9.2f}{mean[4]:>12,.0f}"
        lines.append(f"{LABELS[arm]:<26}{correct:>16}{numbers}")
    seeds = len(next(iter(rows.values())))
    lines.append(
        f"(final epoch on the {num_test:,} test rows, mean over {seeds} seed(s); "
        "bytes of the weights in a sparse file, without its header)"
    )
    return "\n".join(lines)
