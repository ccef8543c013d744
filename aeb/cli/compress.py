# SPDX-License-Identifier: Apache-2.0
"""`aeb demo` and `aeb compress`: train, compress by every arm, compare, and keep the result.

A run lives in one folder. Each stage of each seed checkpoints into a folder of its own, so the same
command continues where it was stopped; a folder that holds a run with other settings is refused.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

from aeb import guards
from aeb.cli.comparison import compare
from aeb.cli.training import ARMS, Recipe
from aeb.cli.usage import UsageError

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
        compare("digits", "cnn", recipe, ARMS, range(self.seeds), self.out, resume=False)


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
        arms = tuple(dict.fromkeys(self.arms))
        seeds = range(self.seeds)
        compare(
            self.data,
            self.model,
            _recipe(self),
            arms,
            seeds,
            self.out,
            start=self.start,
            claim=lambda: _claim(self.out / "settings.json", self),
        )


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
