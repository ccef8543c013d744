# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST: Adam, dropout, SGHMC and SGHMC-SA, with and without DA.

    Vanilla    Adam
    Dropout    Adam, and dropout
    SGHMC      the average over draws, N(0, 1) on all kernels
    SGHMC-SA   the same, spike and slab on FC1 with sigma, delta and the penalties learned

Two networks, the paper's: two convolutions and two dense layers without augmentation, with
BatchNorm and a third dense layer for augmented images (DA). Each is scored at its last draw and by
the average over its draws, weighted by the step size; so are the arms by Adam, whose draws are the
network at the same steps: what averaging alone gives. The paper's figures are those of the last
network of the arms by Adam and of the average of the others.

The step sizes of the preset full are those with the least NLL of the average on training images
held out; `--tune` makes the rows of that search, which are shown beside the others. Adam's step
falls there as that of the samplers does, and its draws are weighted alike.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness.ranges import Count, Some
from benchmarks.images import data, networks, scores, training
from benchmarks.images.data import Images
from benchmarks.images.recipe import ARMS, ArmName, Cell, Recipe, Set

HELD_OUT = 5000
"""Training images that a trial is scored on, at most."""

STEP_SIZES = (0.03, 0.01, 0.1)
"""Step sizes of the samplers that are tried, h."""

ADAM_STEPS = (1e-3, 3e-4, 3e-3)
"""Step sizes of Adam that are tried; the first is the paper's."""


@dataclasses.dataclass(frozen=True)
class Classification(harness.Settings):
    sets: Some[Set] = ("mnist", "fashion_mnist")  # read from TFDS_DATA_DIR
    augment: Some[bool] = (False, True)  # without augmentation, with it, or both
    arms: Some[ArmName] = tuple(ARMS)  # arms to compare
    seeds: Count = 5  # networks of each
    seeds_augmented: Count | None = None  # of those, how many with augmentation; None is all
    num_scored: Count = 10_000  # test images to score on, and images of the other set
    # Whether to score on training images held out in place of the test images.
    validate: bool = False
    # Whether to try step sizes on training images held out instead, one network each: those of
    # `ADAM_STEPS` and `STEP_SIZES` in place of the recipe's.
    tune: bool = False
    recipe: Recipe = Recipe()  # how all arms are set

    def check(self) -> None:
        super().check()
        if self.tune:
            for trial, _ in self.trials():
                trial.check()

    def cells(self) -> list[Cell]:
        """List the sets, each without and with augmentation, each with its arms."""
        return [
            Cell(name, augment, arm)
            for name in dict.fromkeys(self.sets)
            for augment in dict.fromkeys(self.augment)
            for arm in dict.fromkeys(self.arms)
        ]

    def config(self, cell: Cell) -> dict[str, Any]:
        return {
            **cell._asdict(),
            "scored_on": "validation" if self.validate else "test",
            "num_scored": self.num_scored,
            "recipe": self.recipe.config(),
        }

    def seeds_of(self, cell: Cell) -> range:
        seeds = self.seeds
        if cell.augment and self.seeds_augmented is not None:
            seeds = min(seeds, self.seeds_augmented)
        return range(self.seed, self.seed + seeds)

    def trials(self) -> list[tuple[Classification, Cell]]:
        """List the step sizes to try on images held out, each with the network to try it on.

        A trial has a third of the training images and a quarter of the epochs; N and the sum of the
        gain stay those of a run. Both arms by Adam share their step size, as both samplers do.
        """
        pairs: dict[ArmName, list[tuple[float, float]]] = {
            "sghmc_sa": [(step, ADAM_STEPS[0]) for step in STEP_SIZES],
            "vanilla": [(STEP_SIZES[0], step) for step in ADAM_STEPS],
        }
        cells = [Cell(name, False, arm) for name in dict.fromkeys(self.sets) for arm in pairs]
        return [
            (self._trial(cell, *steps), cell)
            for cell in cells
            if cell.arm in self.arms
            for steps in pairs[cell.arm]
        ]

    def _trial(self, cell: Cell, step_size: float, adam_step: float) -> Classification:
        """Set the one network of a trial, with step sizes that are not the recipe's."""
        recipe = self.recipe
        images, epochs = max(1, recipe.num_train // 3), max(1, recipe.epochs // 4)
        few = dataclasses.replace(
            recipe,
            num_train=images,
            epochs=epochs,
            epochs_augmented=(epochs, epochs),
            counted=recipe.counted * recipe.num_train / images,
            thinning=max(1, images // recipe.batch_size * epochs // 4),
            step_size=step_size,
            adam_step=adam_step,
        )
        stretch = recipe.stretch * recipe.steps(cell) / few.steps(cell)
        return dataclasses.replace(
            self,
            sets=(cell.set,),
            augment=(cell.augment,),
            arms=(cell.arm,),
            seeds=1,
            validate=True,
            tune=False,
            num_scored=min(self.num_scored, HELD_OUT),
            recipe=dataclasses.replace(few, stretch=stretch),
        )

    def images(self, cell: Cell) -> Images:
        return data.images(cell.set, self.recipe.num_train, self.num_scored, validate=self.validate)

    def trained(self, cell: Cell, seed: int, folder: Path, report: Any) -> training.Kept:
        """Train a network, or take it from those that are kept."""
        images, shelf = self.images(cell), self.work / "networks"
        return training.kept(self.recipe, cell, seed, images, shelf, folder, report)

    def units(self) -> list[harness.Unit]:
        """List the networks, a unit each; where it is to tune, those of the trials."""
        if self.tune:
            return [unit for trial, _ in self.trials() for unit in trial.units()]
        return harness.one_row_each(
            self, self._run, name=lambda cell: cell.label, size=self.recipe.steps
        )

    def _run(self, cell: Cell, seed: int, folder: Path, report: Any) -> harness.Measured:
        kept = self.trained(cell, seed, folder, report)
        net = networks.network(self.recipe, cell)
        scored = scores.score(net, kept.network, self.images(cell))
        return kept.seconds, [{**scored, "trained_at": kept.commit}]


def _narrow(
    channels: tuple[int, int], hidden: tuple[int, int], epochs: int, **others: Any
) -> Recipe:
    """Set networks with few weights, alike with and without augmentation.

    N is as large as at full size, so that prior and noise weigh as much in a step.
    """
    return Recipe(
        channels=channels,
        channels_augmented=channels,
        hidden=hidden[0],
        hidden_augmented=hidden,
        epochs=epochs,
        epochs_augmented=(epochs, epochs),
        batch_size=50,
        step_size=0.03,
        counted=120.0,
        **others,
    )


PRESETS = {
    "smoke": Classification(
        preset="smoke",
        sets=("digits",),
        augment=(False,),
        arms=("vanilla", "sghmc_sa"),
        seeds=1,
        num_scored=200,
        recipe=_narrow((2, 3), (8, 6), 2, num_train=300, thinning=3, stretch=100.0),
        checkpoint_every=5.0,
    ),
    # A twelfth of the images and 600 steps for 18,000; the gain has the sum of a full run.
    "cpu": Classification(
        preset="cpu",
        seeds=3,
        num_scored=4000,
        recipe=_narrow(
            (8, 16), (64, 32), 6, num_train=5000, thinning=60, stretch=30.0, dtype="float32"
        ),
    ),
    # 4,800 steps for 18,000; N is the paper's, and the gain has the sum of a full run.
    "full": Classification(
        preset="full",
        sets=("fashion_mnist", "mnist"),
        arms=("sghmc_sa", "vanilla", "sghmc", "dropout"),
        seeds=3,
        seeds_augmented=2,
        recipe=Recipe(
            dtype="float32",
            batch_size=100,
            epochs=8,
            epochs_augmented=(8, 8),
            thinning=400,
            step_size=0.03,
            stretch=3.75,
            adam_fall="root",
        ),
        checkpoint_every=60.0,
    ),
    "paper": Classification(preset="paper"),
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
