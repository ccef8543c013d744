# SPDX-License-Identifier: Apache-2.0
"""How the authors' six arms of the UCI regressions are set."""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

from benchmarks.harness import check

__all__ = ["ARMS", "Arm", "ArmName", "Poster", "temper"]


class Arm(NamedTuple):
    """What tells one of the authors' arms from another."""

    label: str
    gains: tuple[float, float]  # what the gain that falls is clipped to
    anneal: bool  # whether the temperature falls

    @property
    def learns(self) -> bool:
        """Whether the prior moves; where it does not, it is an L2 penalty on all weights."""
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
    "boston": (1.0, 0.1),
    "yacht": (1.0, 0.1),
    "energy": (0.1, 0.1),
    "wine": (0.5, 0.01),
    "concrete": (0.5, 0.07),
    "power": (0.5, 0.07),
}


def temper(name: str) -> tuple[float, float]:
    """Inverse temperature at the start, and v0, that the poster has for a set.

    The poster knows no power plant; it gets those of concrete.
    """
    return TEMPERS[name]


@dataclasses.dataclass(frozen=True)
class Poster:
    """How the authors' arms are set; the defaults are their code's."""

    hidden: int = 50
    """Hidden units."""
    batch_size: int = 50
    """Rows of a minibatch; what is left of an epoch is dropped."""
    epochs: int = 201
    """Passes over the training rows."""
    step_size: float = 1e-5
    """eps of SGHMC, > 0."""
    friction: float = 0.1
    """alpha of SGHMC, in (0, 1]; 1 minus the momentum of SGD."""
    anneal: float = 1.003
    """What the annealed arms multiply the inverse temperature by after each minibatch, >= 1."""
    v1: float = 10.0
    """Variance of the slab in units of sigma^2."""
    a: float = 1.0
    """First parameter of the Beta prior of delta."""
    b: float = 10.0
    """Second parameter of it."""
    nu: float = 1.0
    """Degrees of freedom of the prior of sigma^2."""
    lam: float = 1.0
    """Scale of the prior of sigma^2."""
    sigma: float = 10.0
    """Starting sigma."""
    kappa: float = 1e-4
    """Starting spike and slab penalties, and the L2 penalty on whatever is not sparse."""
    gain_offset: float = 100.0
    """A in the gain (A + k)^-alpha of stochastic approximation, in steps."""
    gain_exponent: float = 0.7
    """alpha, in (0.5, 1]."""
    burn_in: float = 0.5
    """Share of the epochs whose draws are left out of the average, in [0, 1)."""
    hold_out: float = 0.2
    """Share of the training rows that a second run leaves out, to find the noise by, in (0, 1)."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(
            self,
            whole={1: "hidden batch_size epochs"},
            positive="step_size v1 nu lam sigma kappa",
            at_least={0.0: "gain_offset", 1.0: "anneal a b"},
            within={
                "(0, 1]": "friction",
                "(0.5, 1]": "gain_exponent",
                "[0, 1)": "burn_in",
                "(0, 1)": "hold_out",
            },
        )
