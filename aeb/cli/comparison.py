# SPDX-License-Identifier: Apache-2.0
"""Run every arm on every seed, and write down how they compare."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

import aeb
from aeb.cli.figure import LABELS, draw
from aeb.cli.task import Metrics, Task, evaluate, make_task
from aeb.cli.training import Fit, Recipe, Report, Stage, arm_stage, dense_stage, fit
from aeb.cli.usage import UsageError
from aeb.files.sparse_file import save_sparse
from aeb.models import load_authors_resnet20

__all__ = ["compare", "make_stages", "run_seed"]


def compare(
    data: str,
    model: str,
    recipe: Recipe,
    arms: Sequence[str],
    seeds: range,
    out: Path,
    *,
    start: str = "scratch",
    resume: bool = True,
    claim: Callable[[], None] = lambda: None,
) -> None:
    """Train, compress, compare, and write what came of it.

    Args:
        data: the data set.
        model: the network.
        recipe: the settings.
        arms: ways to compress.
        seeds: one run of all arms for each.
        out: folder for model, figure and results, and for checkpoints.
        start: "scratch" or "authors", where the dense network comes from.
        resume: whether to keep checkpoints and go on from them.
        claim: called once all is checked, before the first step.

    Raises:
        UsageError: the batches are larger than the data set, or the sparsity is out of reach.
    """
    task = make_task(data, model)
    if recipe.batch_size > task.num_data:
        raise UsageError(
            f"batch_size: got {recipe.batch_size}, {data} has {task.num_data} training images"
        )
    print(f"aeb {aeb.__version__}: {data}, {model}, {len(seeds)} seed(s), {task.num_data} images")
    stages = make_stages(task, recipe, arms, start)
    _check_reach(task, stages)
    claim()
    rows: dict[str, list[Metrics]] = {arm: [] for arm in stages}
    with tqdm(total=len(seeds) * sum(s.epochs for s in stages.values() if s), unit="epoch") as bar:

        def report(text: str) -> None:
            bar.update()
            bar.set_postfix_str(text)

        for seed in seeds:
            bar.set_description(f"seed {seed}")
            folder = out / f"seed-{seed}" if resume else None
            fits = run_seed(task, recipe, stages, seed, folder, report)
            probs = {}
            for arm, one in fits.items():
                metrics, probs[arm] = evaluate(task, one.state.position, one.state.model_state)
                rows[arm].append(metrics)
    # The file and the pictures are those of the last seed.
    _write(out, task, recipe, rows, fits, probs, data, model)


def make_stages(
    task: Task, recipe: Recipe, arms: Sequence[str], start: str = "scratch"
) -> dict[str, Stage | None]:
    """Put together dense training and the arms; None where the dense network is the authors'."""
    dense = dense_stage(task, recipe) if start == "scratch" else None
    return {"dense": dense} | {arm: arm_stage(task, recipe, arm) for arm in arms}


def _check_reach(task: Task, stages: Mapping[str, Stage | None]) -> None:
    """See that every arm can start, before the first is trained."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    params, model_state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    try:
        for stage in filter(None, stages.values()):
            stage.algorithm.init(params, model_state)
    except ValueError as error:
        # The ramp is ours, the sparsity what was typed.
        raise UsageError(str(error).replace("ramp:", "sparsity:", 1)) from error


def run_seed(
    task: Task,
    recipe: Recipe,
    stages: Mapping[str, Stage | None],
    seed: int,
    folder: Path | None,
    report: Report,
) -> dict[str, Fit]:
    """Train the dense network, then every arm from it.

    Args:
        task: network and data.
        recipe: the settings.
        stages: made by `make_stages`.
        seed: of initial weights, minibatches and noise; every arm sees the same of the latter two.
        folder: keep checkpoints here and go on from them; None keeps none.
        report: told of each epoch.

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
            # mypy cannot infer a lambda with a default, which binds the arm of this turn.
            report=lambda text, arm=arm: report(f"{arm} {text}"),  # type: ignore[misc]
        )
    return fits


def _authors() -> Fit:
    """The authors' dense ResNet20 as a fit without a history."""
    params, batch_stats = load_authors_resnet20()
    algorithm = aeb.empirical_bayes(aeb.sgld(1.0), aeb.gaussian(), gain=0.0)
    return Fit(algorithm.init(params, {"batch_stats": batch_stats}), np.zeros((0, 2)))


def _write(
    out: Path,
    task: Task,
    recipe: Recipe,
    rows: Mapping[str, list[Metrics]],
    fits: Mapping[str, Fit],
    probs: Mapping[str, np.ndarray],
    data: str,
    model: str,
) -> None:
    """Print the table; write model, figure and results, and say where."""
    print(_table(rows))
    best = next(arm for arm in ("sa", "em", "learned", "magnitude") if arm in fits)
    state = fits[best].state
    variables = {"params": state.position, **state.model_state}
    about = {"data": data, "model": model, "arm": best, "accuracy": rows[best][-1].accuracy}
    save_sparse(out / "model.safetensors", variables, metadata=about)
    title = f"{data}, {model}: last seed, final epoch"
    draw(out / "figure.png", fits, probs, task.data.test["label"], title)
    results = {
        "settings": dataclasses.asdict(recipe),
        "arms": {arm: [metrics._asdict() for metrics in runs] for arm, runs in rows.items()},
    }
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    for name, what in (
        ("model.safetensors", f"sparse model ({LABELS[best]}); look at it with aeb inspect"),
        ("figure.png", "figure"),
        ("results.json", "every run's numbers"),
    ):
        print(f"{out / name}: {what}")


def _table(rows: Mapping[str, list[Metrics]]) -> str:
    """Means over seeds, with the standard deviation of the accuracy."""
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
        f"(final epoch on the test set, mean over {seeds} seed(s); "
        "bytes of the weights in a sparse file, without its header)"
    )
    return "\n".join(lines)
