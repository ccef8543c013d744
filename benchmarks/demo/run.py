# SPDX-License-Identifier: Apache-2.0
"""The demo's comparison as rows: a small CNN on the 8x8 digits, every arm, one row a seed.

    python -m benchmarks.demo --preset cpu

A row's metrics are those of `aeb demo` for that seed, by arm, at the final epoch.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

from aeb.comparison import Recipe, evaluate, make_stages, make_task, run_seed
from benchmarks import harness
from benchmarks.demo.recipe import ARMS, RECIPE

__all__ = ["NAME", "PRESETS", "main"]

NAME = "demo"
DESCRIPTION = "Compress a small CNN on the 8x8 digits by every arm; one row a seed."


@dataclasses.dataclass(frozen=True)
class Demo(harness.Settings):
    """Compress a small CNN on the 8x8 digits by every arm."""

    seeds: int = 3
    """Runs with different seeds."""
    recipe: Recipe = RECIPE
    """Settings of the compression."""

    def check(self) -> None:
        super().check()
        self.recipe.check()

    def cells(self) -> tuple[Recipe]:
        return (self.recipe,)

    def seeds_of(self, cell: Recipe) -> range:
        return range(self.seed, self.seed + self.seeds)

    def config(self, cell: Recipe) -> dict[str, Any]:
        return {"data": "digits", "model": "cnn", "recipe": dataclasses.asdict(cell)}

    def units(self) -> list[harness.Unit]:
        epochs = self.recipe.dense_epochs + len(ARMS) * self.recipe.epochs
        return harness.one_row_each(self, run, name=lambda _: NAME, size=lambda _: epochs)


def run(recipe: Recipe, seed: int, folder: Path, report: Any) -> harness.Measured:
    """Train one seed; the seconds of a resumed run count from its last start."""
    began = time.monotonic()
    task = make_task("digits", "cnn")

    def once_an_epoch(passed: float, news: str | None) -> None:
        if news is not None:
            report(1)

    fits = run_seed(task, recipe, make_stages(task, recipe, ARMS), seed, folder, once_an_epoch)
    metrics = {
        arm: evaluate(task, fit.state.position, fit.state.model_state)[0]._asdict()
        for arm, fit in fits.items()
    }
    return time.monotonic() - began, [metrics]


PRESETS = {
    "smoke": Demo(
        preset="smoke", seeds=1, recipe=dataclasses.replace(RECIPE, dense_epochs=1, epochs=2)
    ),
    "cpu": Demo(preset="cpu"),
    "paper": Demo(preset="paper"),
}

main = functools.partial(harness.main, NAME, PRESETS, description=DESCRIPTION)
