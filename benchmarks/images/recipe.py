# SPDX-License-Identifier: Apache-2.0
"""The sets, the arms, and how they are set.

What the paper, its poster and its earlier submission tell is a default here: the networks, the
sparse layer, v1 = 1, v0 = 1e-3, sigma = 0.1 at the start, a = b = p, the gain
0.1 (k + 1000)^-alpha, batches of 1,000, thinning by 500 steps, eps_k ~ k^-1/5, temperature 1/1000
(MNIST) and 1/2500 (Fashion-MNIST) with N counted tenfold, Adam at 1e-3, 300 and 1,000 epochs with
augmentation. They do not tell the step size, alpha, the epochs without augmentation, which draws
are left out, and where the penalties start. The step size was chosen on training images held out,
with the small networks (docs/lab-notes.md); the rest is plain guess.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

from aeb import guards
from benchmarks.harness import check

__all__ = ["ARMS", "Arm", "ArmName", "Cell", "Recipe", "Set"]

Set = Literal["mnist", "fashion_mnist", "digits"]

ArmName = Literal["vanilla", "dropout", "sghmc", "sghmc_sa"]


class Arm(NamedTuple):
    """What tells the arms apart."""

    label: str
    samples: bool  # SGHMC, predicting by the average of its draws; otherwise Adam, by its last
    learns: bool  # spike and slab on FC1; otherwise N(0, 1) there too
    drops: bool  # dropout


ARMS: dict[ArmName, Arm] = {
    "vanilla": Arm("Vanilla", samples=False, learns=False, drops=False),
    "dropout": Arm("Dropout", samples=False, learns=False, drops=True),
    "sghmc": Arm("SGHMC", samples=True, learns=False, drops=False),
    "sghmc_sa": Arm("SGHMC-SA", samples=True, learns=True, drops=False),
}


class Cell(NamedTuple):
    """One network to train, but for its seed."""

    set: Set
    augment: bool
    arm: ArmName

    @property
    def label(self) -> str:
        """Name it for the progress bar."""
        return f"{'DA-' if self.augment else ''}{self.set} {ARMS[self.arm].label}"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How all arms are set."""

    channels: tuple[int, int] = (32, 64)
    """Channels of the two convolutions of the network without augmentation."""
    hidden: int = 200
    """Width of its FC1."""
    channels_augmented: tuple[int, int] = (64, 64)
    """Channels of the two convolutions of the network with augmentation."""
    hidden_augmented: tuple[int, int] = (256, 64)
    """Widths of its FC1 and FC2."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """What the networks compute in while they are trained; weights, gradients of the prior and
    latents are float32, and so are all predictions that are scored."""
    num_train: int = 60_000
    """Training images, the first of a fixed shuffle."""
    batch_size: int = 1000
    """Images of a minibatch."""
    epochs: int = 300
    """Passes without augmentation."""
    epochs_augmented: tuple[int, int] = (300, 1000)
    """Passes with it, over MNIST and over Fashion-MNIST."""
    thinning: int = 500
    """Steps from draw to draw; the steps of a run are a multiple of it."""
    burn_in: float = 0.5
    """Share of the draws that are left out of the average, in [0, 1)."""
    adam_step: float = 1e-3
    """Step size of Adam, > 0."""
    step_size: float = 0.1
    """h > 0 in eps_k = h k^-1/5 / N: the learning rate of the mean loss at the first step."""
    friction: float = 0.1
    """alpha of SGHMC, in (0, 1]; 1 minus the momentum of SGD."""
    counted: float = 10.0
    """How often each training image counts in N, > 0."""
    inverse_temperature: tuple[float, float] = (1000.0, 2500.0)
    """tau > 0 of MNIST and of Fashion-MNIST."""
    v0: float = 1e-3
    """Scale of the spike in units of sigma."""
    v1: float = 1.0
    """Variance of the slab in units of sigma^2."""
    sigma: float = 0.1
    """Starting sigma; it is learned."""
    nu: float = 1.0
    """Degrees of freedom of the prior of sigma^2."""
    lam: float = 1.0
    """Scale of the prior of sigma^2."""
    kappa0: float = 0.0
    """Starting spike penalty, >= 0."""
    gain_coefficient: float = 0.1
    """C in the gain C (A + k)^-alpha."""
    gain_offset: float = 1000.0
    """A, in steps."""
    gain_exponent: float = 0.75
    """alpha, in (0.5, 1]."""
    stretch: float = 1.0
    """f >= 1: how many steps of this gain one step stands for. The gain is f C (A + f k)^-alpha,
    whose sum over a run f times as short is the same."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(
            self,
            whole={
                1: "hidden num_train batch_size epochs thinning channels channels_augmented "
                "hidden_augmented epochs_augmented"
            },
            positive="adam_step step_size counted v0 v1 sigma nu lam inverse_temperature "
            "gain_coefficient",
            at_least={0.0: "kappa0 gain_offset", 1.0: "stretch"},
            within={
                "[0, 1)": "burn_in",
                "(0, 1]": "friction",
                "(0.5, 1]": "gain_exponent",
            },
        )
        guards.within("batch_size", self.batch_size, f"[1, {self.num_train}]")
        for epochs in (self.epochs, *self.epochs_augmented):
            steps = epochs * (self.num_train // self.batch_size)
            if steps % self.thinning:
                raise ValueError(
                    f"thinning: got {self.thinning}, but {epochs} epochs are {steps} steps, which "
                    "has to be a multiple of it"
                )

    def steps(self, cell: Cell) -> int:
        """Count the steps of a run."""
        return self._epochs(cell) * (self.num_train // self.batch_size)

    def draws(self, cell: Cell) -> tuple[int, int]:
        """Count the draws of a run, and those of them that are left out."""
        draws = self.steps(cell) // self.thinning
        return draws, min(round(self.burn_in * draws), draws - 1)

    def temperature(self, cell: Cell) -> float:
        """T of a set."""
        return 1.0 / self.inverse_temperature[_place(cell)]

    def _epochs(self, cell: Cell) -> int:
        return self.epochs_augmented[_place(cell)] if cell.augment else self.epochs


def _place(cell: Cell) -> int:
    return int(cell.set == "fashion_mnist")
