# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST, with and without augmentation: Adam, dropout, SGHMC and SGHMC-SA.

    Vanilla    Adam
    Dropout    Adam, and dropout
    SGHMC      the average over draws, N(0, 1) on all kernels
    SGHMC-SA   the same, spike and slab on FC1 with sigma, delta and the penalties learned

Two networks, the paper's: two convolutions and two dense layers without augmentation, with
BatchNorm and a third dense layer for augmented images (DA). Each is scored at its last draw and by
the average over its draws, weighted by the step size; so are the arms by Adam, whose draws are the
network at the same steps: what averaging alone gives. The paper's figures are those of the last
network of the arms by Adam and of the average of the others.

Beside accuracy stand log-likelihood, calibration, the entropy on a set that the network has never
seen (and how well it tells the two apart), and for SGHMC-SA the share of FC1 with rho <= 0.5 and
what is left of the accuracy once these weights are cut.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.images import data, kept, networks, scores
from benchmarks.images.data import Images
from benchmarks.images.kept import Found
from benchmarks.images.recipe import ARMS, ArmName, Cell, Recipe, Set

__all__ = ["NAME", "PRESETS", "Classification", "main"]

NAME = "classification"

DESCRIPTION = "MNIST and Fashion-MNIST: Adam, dropout, SGHMC and SGHMC-SA, with and without DA."


@dataclasses.dataclass(frozen=True)
class Classification(harness.Settings):
    """The settings of this script."""

    sets: tuple[Set, ...] = ("mnist", "fashion_mnist")
    """Sets, read from TFDS_DATA_DIR."""
    augment: tuple[bool, ...] = (False, True)
    """Without augmentation, with it, or both."""
    arms: tuple[ArmName, ...] = tuple(ARMS)
    """Arms to compare."""
    seeds: int = 5
    """Networks of each."""
    num_scored: int = 10_000
    """Test images to score on, and images of the other set."""
    validate: bool = False
    """Whether to score on training images held out in place of the test images."""
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    """How all arms are set."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        self.recipe.check()
        harness.check(self, some="sets augment arms", whole={1: "seeds num_scored"})

    def cells(self) -> list[Cell]:
        """List the sets, each without and with augmentation, each with its arms."""
        return [
            Cell(name, augment, arm)
            for name in dict.fromkeys(self.sets)
            for augment in dict.fromkeys(self.augment)
            for arm in dict.fromkeys(self.arms)
        ]

    def config(self, cell: Cell) -> dict[str, Any]:
        """Tell all that fixes the row of a cell but its seed."""
        return {
            **cell._asdict(),
            "scored_on": "validation" if self.validate else "test",
            "num_scored": self.num_scored,
            "recipe": dataclasses.asdict(self.recipe),
        }

    def all_seeds(self) -> range:
        """List the seeds of the networks of a cell."""
        return range(self.seed, self.seed + self.seeds)

    def images(self, cell: Cell) -> Images:
        """Read the images of a cell."""
        return data.images(cell.set, self.recipe.num_train, self.num_scored, validate=self.validate)

    def trained(self, cell: Cell, seed: int, folder: Path, report: Any) -> Found:
        """Train a network, or take it from those that are kept."""
        return kept.trained(
            *(self.recipe, cell, seed, self.images(cell)),
            {**cell._asdict(), "recipe": dataclasses.asdict(self.recipe)},
            *(folder, self.work / "networks", self.checkpoint_every, report),
        )

    def units(self) -> list[harness.Unit]:
        """List the networks, a unit each."""
        return [
            harness.Unit(
                name=f"{cell.label}, seed {seed}",
                configs=(self.config(cell),),
                seeds=(seed,),
                size=self.recipe.steps(cell),
                run=functools.partial(self._run, cell, seed),
            )
            for cell in self.cells()
            for seed in self.all_seeds()
        ]

    def _run(
        self, cell: Cell, seed: int, folder: Path, report: Any
    ) -> tuple[float, list[dict[str, Any]]]:
        """Train a network and score it."""
        found = self.trained(cell, seed, folder, report)
        net = networks.network(self.recipe, cell)
        scored = scores.score(net, found.network, self.images(cell))
        return found.seconds, [{**scored, "trained_at": found.commit}]


NARROW = Recipe(
    channels=(8, 16),
    hidden=64,
    channels_augmented=(8, 16),
    hidden_augmented=(64, 32),
    dtype="float32",
    num_train=5000,
    batch_size=50,
    epochs=6,
    epochs_augmented=(6, 6),
    thinning=60,
    step_size=0.03,
    counted=120.0,
    stretch=30.0,
)
"""Narrow networks, a twelfth of the images and 600 steps for 18,000. N is as large as at full size,
so that prior and noise weigh as much in a step, and the gain has the sum of a full run."""

PRESETS = {
    "smoke": Classification(
        preset="smoke",
        sets=("digits",),
        augment=(False,),
        arms=("vanilla", "sghmc_sa"),
        seeds=1,
        num_scored=200,
        recipe=dataclasses.replace(
            NARROW,
            channels=(2, 3),
            hidden=8,
            channels_augmented=(2, 3),
            hidden_augmented=(8, 6),
            dtype="bfloat16",
            num_train=300,
            batch_size=50,
            epochs=2,
            epochs_augmented=(2, 2),
            thinning=3,
            stretch=100.0,
        ),
        checkpoint_every=5.0,
    ),
    "cpu": Classification(preset="cpu", seeds=3, num_scored=4000, recipe=NARROW),
    "paper": Classification(preset="paper"),
}


def main(args: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return harness.main(NAME, PRESETS, args, description=DESCRIPTION)
