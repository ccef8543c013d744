# SPDX-License-Identifier: Apache-2.0
"""Compress a small CNN on the 8x8 digits by every arm; one row a seed.

A row's metrics are those of `aeb demo` for that seed, by arm, at the final epoch.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

from aeb.comparison import Recipe, evaluate, hold_out, make_stages, make_task, run_seed
from benchmarks import harness

ARMS = ("magnitude", "em", "sa", "learned")

RECIPE = Recipe(
    sparsity=0.9,
    dense_epochs=30,
    epochs=30,
    batch_size=64,
    learning_rate=0.05,
    weight_decay=5e-4,
    temperature=1e-2,
    v0=0.01,
    v1=1.0,
)
"""The settings of the published demo, spelled out: they stay when those of the command change."""

VALIDATION = 0.1
"""The share of the training rows that is held out and watched, as in the command."""


@dataclasses.dataclass(frozen=True)
class Demo(harness.Settings):
    seeds: int = 3  # runs with different seeds
    recipe: Recipe = RECIPE  # settings of the compression

    def check(self) -> None:
        super().check()
        self.recipe.check()

    def cells(self) -> tuple[Recipe]:
        return (self.recipe,)

    def seeds_of(self, cell: Recipe) -> range:
        return range(self.seed, self.seed + self.seeds)

    def config(self, cell: Recipe) -> dict[str, Any]:
        recipe = dataclasses.asdict(cell)
        return {"data": "digits", "model": "cnn", "validation": VALIDATION, "recipe": recipe}

    def units(self) -> list[harness.Unit]:
        epochs = self.recipe.dense_epochs + len(ARMS) * self.recipe.epochs
        return harness.one_row_each(self, run, name=lambda _: NAME, size=lambda _: epochs)


def run(recipe: Recipe, seed: int, folder: Path, report: Any) -> harness.Measured:
    """Train one seed; the seconds of a resumed run count from its last start."""
    began = time.monotonic()
    task = hold_out(make_task("digits", "cnn"), VALIDATION)

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

NAME, main = harness.script(__name__, __doc__, PRESETS)
