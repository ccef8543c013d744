# SPDX-License-Identifier: Apache-2.0
"""How the authors' six arms of the UCI regressions are set, and the recommended one."""

import dataclasses
from typing import Annotated, Literal, NamedTuple

from benchmarks.harness.ranges import Count, Positive, at_least, within


class Arm(NamedTuple):
    """What tells one of the authors' arms from another."""

    label: str
    gains: tuple[float, float]  # what the gain that falls is clipped to
    anneal: bool  # whether the temperature falls

    @property
    def learns(self) -> bool:
        """Return whether the prior moves; where it does not, it is an L2 penalty on all weights."""
        return self.gains != (0.0, 0.0)


ArmName = Literal["sghmc", "a_sghmc", "sghmc_em", "a_sghmc_em", "sghmc_sa", "a_sghmc_sa", "aeb"]

ARMS: dict[ArmName, Arm] = {
    "sghmc": Arm("SGHMC", (0.0, 0.0), anneal=False),
    "a_sghmc": Arm("A-SGHMC", (0.0, 0.0), anneal=True),
    "sghmc_em": Arm("SGHMC-EM", (1.0, 1.0), anneal=False),
    "a_sghmc_em": Arm("A-SGHMC-EM", (1.0, 1.0), anneal=True),
    "sghmc_sa": Arm("SGHMC-SA", (0.0, 1.0), anneal=False),
    "a_sghmc_sa": Arm("A-SGHMC-SA", (0.0, 1.0), anneal=True),
}

TEMPERS = {
    **dict.fromkeys(("boston", "yacht"), (1.0, 0.1)),
    "energy": (0.1, 0.1),
    "wine": (0.5, 0.01),
    # The poster knows no power plant; it gets those of concrete.
    **dict.fromkeys(("concrete", "power"), (0.5, 0.07)),
}
"""The inverse temperature at the start, and v0, that the poster has for a set."""

FromOne = Annotated[float, at_least(1.0)]
NotNegative = Annotated[float, at_least(0.0)]
Friction = Annotated[float, within("(0, 1]")]
Exponent = Annotated[float, within("(0.5, 1]")]
BurnIn = Annotated[float, within("[0, 1)")]


class Shape(NamedTuple):
    """How long the chains are and what is kept of them."""

    hidden: int
    batch_size: int  # of a minibatch; all rows where there are no more
    chains: int  # C, for each split
    every: int  # epochs from draw to draw
    draws: int  # in all
    burn_in: int  # of these, left out


@dataclasses.dataclass(frozen=True)
class Poster:
    """How the authors' arms are set; the defaults are their code's."""

    hidden: Count = 50  # hidden units
    batch_size: Count = 50  # rows of a minibatch; what is left of an epoch is dropped
    epochs: Count = 201  # passes over the training rows, a draw after each
    step_size: Positive = 1e-5  # eps of SGHMC
    friction: Friction = 0.1  # alpha of SGHMC, 1 minus the momentum of SGD
    # What the annealed arms multiply the inverse temperature by after each minibatch.
    anneal: FromOne = 1.003
    v1: Positive = 10.0  # variance of the slab in units of sigma^2
    a: FromOne = 1.0  # first parameter of the Beta prior of delta
    b: FromOne = 10.0  # second parameter of it
    nu: Positive = 1.0  # degrees of freedom of the prior of sigma^2
    lam: Positive = 1.0  # scale of the prior of sigma^2
    sigma: Positive = 10.0  # starting sigma
    # Starting spike and slab penalties, and the L2 penalty on whatever is not sparse.
    kappa: Positive = 1e-4
    gain_offset: NotNegative = 100.0  # A in the gain (A + k)^-alpha, in steps
    gain_exponent: Exponent = 0.7  # alpha
    burn_in: BurnIn = 0.5  # share of the epochs whose draws are left out of the average
    # Share of the training rows that a second run leaves out, to find the noise by.
    hold_out: Annotated[float, within("(0, 1)")] = 0.2

    def shape(self) -> Shape:
        """Return how long the chains are."""
        left_out = _left_out(self.burn_in, self.epochs)
        return Shape(self.hidden, self.batch_size, 1, 1, self.epochs, left_out)


@dataclasses.dataclass(frozen=True)
class Recommended:
    """How the recommended arm is set, alike for all sets."""

    hidden: Count = 50  # hidden units
    chains: Count = 8  # chains of each split, whose draws are pooled
    batch_size: Count = 100  # rows of a minibatch; all rows where there are no more
    draws: Count = 60  # draws of each chain
    thinning: Count = 50  # steps from draw to draw, about: whole epochs, one at least
    burn_in: BurnIn = 0.5  # share of the draws that are left out
    learning_rate: Positive = 0.01  # h
    friction: Friction = 0.1  # alpha of SGHMC
    temperature: NotNegative = 1.0  # T; 1 samples the posterior
    # Standard deviation that the target is brought to. The larger, the smaller is the start beside
    # what the network has to grow to.
    target_scale: Positive = 10.0
    v0: Positive = 1.0  # scale of the spike in units of sigma
    v1: Positive = 100.0  # variance of the slab in units of sigma^2
    a: FromOne = 2.0  # first parameter of the Beta prior of delta
    b: FromOne = 2.0  # second parameter of it
    gain_coefficient: Positive = 1.0  # C in the gain C (A + k)^-alpha
    gain_offset: NotNegative = 100.0  # A, in steps
    gain_exponent: Exponent = 0.7  # alpha

    def shape(self, num_data: int) -> Shape:
        """Return how long the chains are with so many rows to fit."""
        batches = num_data // min(self.batch_size, num_data)
        every = max(1, round(self.thinning / batches))
        left_out = _left_out(self.burn_in, self.draws)
        return Shape(self.hidden, self.batch_size, self.chains, every, self.draws, left_out)


def _left_out(share: float, draws: int) -> int:
    """Return the draws of the burn-in; one at least is kept."""
    return min(round(share * draws), draws - 1)
