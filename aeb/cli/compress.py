# SPDX-License-Identifier: Apache-2.0
"""`aeb demo` and `aeb compress`: train, compress by every arm, compare, and keep the result.

A run lives in one folder. Each stage of each seed checkpoints into a folder of its own, so the same
command continues where it was stopped; a folder that holds a run with other settings is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from tqdm.auto import tqdm

import aeb
from aeb import guards
from aeb.cli.figure import LABELS, draw
from aeb.cli.task import Metrics, Task, evaluate, make_task
from aeb.cli.training import ARMS, Fit, Recipe, arm_stage, dense_stage, fit
from aeb.cli.usage import UsageError
from aeb.models import load_authors_resnet20
from aeb.sparse_file import save_sparse

__all__ = ["Compress", "Demo"]

Arm = Literal["magnitude", "em", "sa", "learned"]


@dataclasses.dataclass(frozen=True)
class Demo(Recipe):
    """Compress a small CNN on the 8x8 digits that ship with aeb, in under two minutes."""

    out: Path = Path("aeb-demo")
    """Folder for the model, the figure and the results."""
    seeds: int = 3
    """Runs with different seeds, over which the table takes means."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        guards.whole("seeds", self.seeds, 1)

    def __call__(self) -> None:
        """Run it."""
        recipe = _recipe(self)
        self.out.mkdir(parents=True, exist_ok=True)
        _run("digits", "cnn", recipe, ARMS, range(self.seeds), self.out, resume=False)


@dataclasses.dataclass(frozen=True)
class Compress(Recipe):
    """Train and compress a network on one of the big sets, with checkpoints."""

    data: Literal["mnist", "fashion_mnist", "cifar10", "digits"] = "fashion_mnist"
    """The data set."""
    model: Literal["cnn", "resnet20"] = "cnn"
    """The network."""
    start: Literal["scratch", "authors"] = "scratch"
    """Train the dense network here, or take the authors' ResNet20 for CIFAR-10."""
    arms: tuple[Arm, ...] = ("magnitude", "em", "sa", "learned")
    """Ways to compress, to be compared."""
    seeds: int = 1
    """Runs with different seeds, over which the table takes means."""
    out: Path = Path("aeb-runs")
    """Folder for the run; the same command continues what it holds."""
    batch_size: int = 500
    """Rows in a minibatch."""
    learning_rate: float = 0.1
    """Highest learning rate for the mean loss; falls by a cosine, and is rewound for each arm."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        guards.whole("seeds", self.seeds, 1)
        if not self.arms:
            raise ValueError(f"arms: name at least one of {', '.join(ARMS)}")
        if self.start == "authors" and (self.data, self.model) != ("cifar10", "resnet20"):
            raise ValueError("start: 'authors' is a ResNet20; add --data cifar10 --model resnet20")

    def __call__(self) -> None:
        """Run it."""
        self.out.mkdir(parents=True, exist_ok=True)
        _claim(self.out / "settings.json", self)
        arms = tuple(dict.fromkeys(self.arms))
        seeds = range(self.seeds)
        _run(self.data, self.model, _recipe(self), arms, seeds, self.out, start=self.start)


def _recipe(settings: Recipe) -> Recipe:
    """Take the shared part of a command's settings."""
    names = [field.name for field in dataclasses.fields(Recipe)]
    return Recipe(**{name: getattr(settings, name) for name in names})


def _claim(path: Path, settings: Compress) -> None:
    """Write the settings of a run, or see that they are those it was started with."""
    mine = {
        name: value
        for name, value in json.loads(json.dumps(dataclasses.asdict(settings), default=str)).items()
        if name not in ("out", "seeds", "arms")
    }
    if not path.exists():
        path.write_text(json.dumps(mine, indent=2) + "\n")
        return
    try:
        theirs = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"out: {path} is damaged; delete the folder or name another") from error
    changed = [name for name in mine if theirs.get(name) != mine[name]]
    if changed:
        name = changed[0]
        raise UsageError(
            f"out: {path.parent} holds a run with {name} {theirs.get(name)}, not {mine[name]}; "
            "name another folder, or use the same settings to continue it"
        )


def _run(
    data: str,
    model: str,
    recipe: Recipe,
    arms: Sequence[str],
    seeds: range,
    out: Path,
    *,
    start: str = "scratch",
    resume: bool = True,
) -> None:
    """Train, compress, compare, and write what came of it."""
    task = make_task(data, model)
    if recipe.batch_size > task.num_data:
        raise UsageError(
            f"batch_size: got {recipe.batch_size}, {data} has {task.num_data} training images"
        )
    print(f"aeb {aeb.__version__}: {data}, {model}, {len(seeds)} seed(s), {task.num_data} images")
    stages = {arm: arm_stage(task, recipe, arm) for arm in arms}
    if start == "scratch":
        stages = {"dense": dense_stage(task, recipe), **stages}
    rows: dict[str, list[Metrics]] = {arm: [] for arm in ("dense", *arms)}
    fits: dict[str, Fit] = {}
    probs: dict[str, np.ndarray] = {}
    total = len(seeds) * sum(stage.epochs for stage in stages.values())
    with tqdm(total=total, unit="epoch") as bar:
        for seed in seeds:
            for arm in rows:
                bar.set_description(f"seed {seed} {arm}")

                def report(text: str) -> None:
                    bar.update()
                    bar.set_postfix_str(text)

                if arm == "dense":
                    begin = task.init(jax.random.key(seed))
                else:
                    begin = fits["dense"].state.position, fits["dense"].state.model_state
                # The pictures and the file are those of the last seed.
                fits[arm] = (
                    fit(
                        task,
                        stages[arm],
                        *begin,
                        # Every arm sees the same minibatches and noise.
                        jax.random.fold_in(jax.random.key(seed), arm == "dense"),
                        batch_size=recipe.batch_size,
                        folder=out / f"seed-{seed}" / arm if resume else None,
                        report=report,
                    )
                    if arm in stages
                    else _authors()
                )
                state = fits[arm].state
                metrics, probs[arm] = evaluate(task, state.position, state.model_state)
                rows[arm].append(metrics)
    _write(out, task, recipe, rows, fits, probs, data, model)


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
