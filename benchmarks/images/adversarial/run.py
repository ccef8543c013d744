# SPDX-License-Identifier: Apache-2.0
"""FGSM and PGD against the networks of `benchmarks.images.classification`.

    authors    FGSM as the authors measured: one step against a single network, away from the class
               that it predicts itself. The arms that sample are then scored by the average over
               *later* draws, which the attack was not made against; the arms by Adam by the very
               network attacked.
    fair       one step against what the arm predicts by (its last network, or the average over all
               its draws, gradient through the average), away from the true class.
    pgd        the same in ten small steps.

What the first flatters: an attack on one network is passed on to others in part only, so the
average looks stronger than it is. To see by how much, the arms by Adam are scored in that way too
(`favoured`: attack on the first draw, average over the later ones). And as the class predicted
stands for the true one, an image that was wrong before may be moved to the right class.

Images are raw pixels in [0, 1], as with the authors, and so are the perturbations.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np

from benchmarks import harness
from benchmarks.harness.ranges import Count, Some, within
from benchmarks.images import networks, scores
from benchmarks.images.adversarial.attacks import Attacked
from benchmarks.images.classification import run as classification
from benchmarks.images.classification.run import Classification
from benchmarks.images.recipe import ARMS, Cell

LEVELS = tuple(round(0.05 * level, 2) for level in range(1, 11))
"""The paper's."""

Level = Annotated[float, within("(0, 1]")]


@dataclasses.dataclass(frozen=True)
class Adversarial(Classification):
    """The settings of this script, and of the networks."""

    augment: Some[bool] = (False,)  # without augmentation, with it, or both
    levels: tuple[Level, ...] = LEVELS  # perturbations of FGSM
    pgd_levels: tuple[Level, ...] = LEVELS  # perturbations of PGD
    rows: Count = 1000  # images at a time

    def check(self) -> None:
        if self.tune:
            raise ValueError("tune: step sizes are tried by images.classification")
        super().check()
        for cell in self.cells():
            taken, burn_in = self.recipe.draws(cell)
            if taken - burn_in < 2:
                raise ValueError("burn_in: it leaves a single draw; the authors' protocol needs 2")

    def config(self, cell: Cell) -> dict[str, Any]:
        return {**super().config(cell), "levels": self.levels, "pgd_levels": self.pgd_levels}

    def _run(self, cell: Cell, seed: int, folder: Path, report: Any) -> harness.Measured:
        kept = self.trained(cell, seed, folder / "training", report)
        attacked = Attacked(
            networks.network(self.recipe, cell),
            tuple(scores.draws_of(kept.network)),
            ARMS[cell.arm].samples,
            self.levels,
            self.pgd_levels,
        )
        images = self.images(cell)
        pixels, label = images.image.astype(np.float32) / np.float32(255), images.label
        checkpoints = harness.Checkpoints(folder / "attack", self.checkpoint_every)
        done, right = checkpoints.restore((np.zeros((), np.int32), attacked.none()))
        while done < len(label):
            rows = slice(int(done), int(done) + self.rows)
            right = jax.tree.map(np.add, right, attacked.right(pixels[rows], label[rows]))
            done = np.asarray(min(rows.stop, len(label)), np.int32)
            if done < len(label):
                checkpoints.save_if_due(int(done), (done, right))
        shares = {name: count / len(label) for name, count in right.items()}
        return checkpoints.seconds, [{**shares, "trained_at": kept.commit}]


FEWER: dict[str, dict[str, Any]] = {
    "smoke": {"num_scored": 40, "rows": 25, "levels": (0.1, 0.3), "pgd_levels": (0.1,)},
    "cpu": {"num_scored": 400, "rows": 200, "pgd_levels": (0.05, 0.1, 0.2, 0.3)},
    "full": {"num_scored": 1000, "rows": 200, "pgd_levels": (0.05, 0.1, 0.2, 0.3)},
    "paper": {},
}
"""In what a preset differs from that of `images.classification`, beside the augmentation."""

PRESETS = {
    name: Adversarial(**(vars(settings) | {"augment": (False,)} | FEWER[name]))
    for name, settings in classification.PRESETS.items()
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
