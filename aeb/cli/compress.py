# SPDX-License-Identifier: Apache-2.0
"""`aeb demo` and `aeb compress`: train, compress by every arm, compare, and keep the result.

A run lives in one folder. Each stage of each seed checkpoints into a folder of its own, so the same
command continues where it was stopped; a folder that holds a run with other settings is refused.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import aeb
from aeb import guards
from aeb.cli.usage import UsageError
from aeb.comparison import ARMS, Plan, Recipe, make_plan, run_plan

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
        plan = _plan("digits", "cnn", _recipe(self), ARMS)
        _run(plan, self.seeds, self.out, resume=False)


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
    validation: float = 0.1
    """Share of the training images to hold out, by which the best arm is chosen, in (0, 1)."""
    limit_images: int | None = None
    """Take the first so many training and test images only, for a first look."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        guards.whole("seeds", self.seeds, 1)
        guards.within("validation", self.validation, "(0, 1)")
        if self.limit_images is not None:
            guards.whole("limit_images", self.limit_images, 1)
        if not self.arms:
            raise ValueError(f"arms: name at least one of {', '.join(ARMS)}")
        if self.start == "authors" and (self.data, self.model) != ("cifar10", "resnet20"):
            raise ValueError("start: 'authors' is a ResNet20; add --data cifar10 --model resnet20")

    def __call__(self) -> None:
        """Run it."""
        plan = _plan(
            self.data,
            self.model,
            _recipe(self),
            tuple(dict.fromkeys(self.arms)),
            start=self.start,
            validation=self.validation,
            limit=self.limit_images,
        )
        self.out.mkdir(parents=True, exist_ok=True)
        _claim(self.out / "settings.json", self)
        _run(plan, self.seeds, self.out, resume=True)


def _plan(*args: Any, **options: Any) -> Plan:
    """Make a plan; what cannot be planned is at fault in what was typed."""
    try:
        return make_plan(*args, **options)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _run(plan: Plan, seeds: int, out: Path, *, resume: bool) -> None:
    """Run a plan, print its table, write its files, and say where."""
    images = plan.task.num_data
    print(f"aeb {aeb.__version__}: {plan.title}, {seeds} seed(s), {images} images to train on")
    out.mkdir(parents=True, exist_ok=True)
    comparison = run_plan(plan, range(seeds), folder=out if resume else None)
    print(comparison)
    for name, what in comparison.save(out).items():
        print(f"{out / name}: {what}")


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
