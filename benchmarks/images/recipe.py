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

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

from aeb import guards
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, Positive, at_least, within

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
        return f"{'DA-' if self.augment else ''}{self.set} {ARMS[self.arm].label}"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How all arms are set."""

    # Channels of the two convolutions, and width of FC1, of the network without augmentation.
    channels: tuple[Count, Count] = (32, 64)
    hidden: Count = 200
    # Channels, and widths of FC1 and FC2, of the network with augmentation.
    channels_augmented: tuple[Count, Count] = (64, 64)
    hidden_augmented: tuple[Count, Count] = (256, 64)
    # What the networks compute in while they are trained; weights, gradients of the prior and
    # latents are float32, and so are all predictions that are scored.
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    num_train: Count = 60_000  # training images, the first of a fixed shuffle
    batch_size: Count = 1000  # images of a minibatch
    epochs: Count = 300  # passes without augmentation
    # Passes with it, over MNIST and over Fashion-MNIST.
    epochs_augmented: tuple[Count, Count] = (300, 1000)
    thinning: Count = 500  # steps from draw to draw; the steps of a run are a multiple of it
    # Share of the draws that are left out of the average.
    burn_in: Annotated[float, within("[0, 1)")] = 0.5
    adam_step: Positive = 1e-3  # step size of Adam
    # h in eps_k = h k^-1/5 / N: the learning rate of the mean loss at the first step.
    step_size: Positive = 0.1
    # alpha of SGHMC; 1 minus the momentum of SGD.
    friction: Annotated[float, within("(0, 1]")] = 0.1
    counted: Positive = 10.0  # how often each training image counts in N
    # tau of MNIST and of Fashion-MNIST.
    inverse_temperature: tuple[Positive, Positive] = (1000.0, 2500.0)
    v0: Positive = 1e-3  # scale of the spike in units of sigma
    v1: Positive = 1.0  # variance of the slab in units of sigma^2
    sigma: Positive = 0.1  # starting sigma; it is learned
    nu: Positive = 1.0  # degrees of freedom of the prior of sigma^2
    lam: Positive = 1.0  # scale of the prior of sigma^2
    kappa0: Annotated[float, at_least(0.0)] = 0.0  # starting spike penalty
    gain_coefficient: Positive = 0.1  # C in the gain C (A + k)^-alpha
    gain_offset: Annotated[float, at_least(0.0)] = 1000.0  # A, in steps
    gain_exponent: Annotated[float, within("(0.5, 1]")] = 0.75  # alpha
    # f: how many steps of this gain one step stands for. The gain is f C (A + f k)^-alpha, whose
    # sum over a run f times as short is the same.
    stretch: Annotated[float, at_least(1.0)] = 1.0
    # How the step size of Adam falls: "root" as that of the samplers does, k^-1/5; None does not.
    adam_fall: Literal["root"] | None = None
    a: Positive | None = None  # of the Beta(a, b) prior of delta; None is p, the weights of FC1
    b: Positive | None = None  # likewise
    # What SGHMC-SA learns beside rho and the penalties: None is sigma and delta, as the paper does,
    # so that nothing of its prior but v0 and v1 is set; "penalties" leaves both where they start.
    learns: Literal["penalties"] | None = None

    def check(self) -> None:
        check(self)
        guards.within("batch_size", self.batch_size, f"[1, {self.num_train}]")
        for epochs in (self.epochs, *self.epochs_augmented):
            steps = epochs * (self.num_train // self.batch_size)
            if steps % self.thinning:
                raise ValueError(
                    f"thinning: got {self.thinning}, but {epochs} epochs are {steps} steps, which "
                    "has to be a multiple of it"
                )

    def config(self) -> dict[str, Any]:
        """Return the settings, without those that came later and are not used: so do old rows."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def steps(self, cell: Cell) -> int:
        return self._epochs(cell) * (self.num_train // self.batch_size)

    def draws(self, cell: Cell) -> tuple[int, int]:
        """Count the draws of a run, and those of them that are left out."""
        draws = self.steps(cell) // self.thinning
        return draws, min(round(self.burn_in * draws), draws - 1)

    def temperature(self, cell: Cell) -> float:
        return 1.0 / self.inverse_temperature[_place(cell)]

    def _epochs(self, cell: Cell) -> int:
        return self.epochs_augmented[_place(cell)] if cell.augment else self.epochs


def _place(cell: Cell) -> int:
    return int(cell.set == "fashion_mnist")
