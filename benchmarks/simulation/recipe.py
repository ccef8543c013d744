# SPDX-License-Identifier: Apache-2.0
"""How the samplers of the large-p-small-n regression are set.

The defaults are those of the authors' R document.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp

from aeb import guards
from benchmarks.harness import check

__all__ = ["ARMS", "Cell", "Recipe"]

ARMS = ("sa", "em", "sgld")
"""SGLD-SA, SGLD-EM, and SGLD whose prior stays as it starts."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the samplers are set."""

    num_steps: int = 500_000
    """Steps of each chain."""
    thinning: int = 100
    """Steps between two draws."""
    burn_in: float = 0.2
    """Fraction of the draws to leave out, from the first on, in [0, 1)."""
    interval_draws: int = 400
    """Draws kept whole for the intervals, evenly spread over those that count."""
    level: float = 0.9
    """Level of the intervals, in (0, 1)."""
    step_size: float = 1e-3
    """eps in eps_k = eps k^-decay, k = 1, 2, ..."""
    step_decay: float = 1.0 / 3.0
    """The decay of the step size, >= 0."""
    temperature: float = 1.0
    """Temperature, >= 0; 1 samples the posterior."""
    gain_cap: float = 0.1
    """Highest gain of stochastic approximation, in (0, 1]."""
    gain_coefficient: float = 1000.0
    """C in the gain min(cap, C / (A + k)^alpha), k = 0, 1, ..."""
    gain_offset: float = 100.0
    """A, in steps, > 0."""
    gain_exponent: float = 0.7
    """alpha in (0.5, 1]."""
    v1: float = 10.0
    """Variance of the slab in units of sigma^2."""
    a: float = 1.0
    """First parameter of the Beta prior of delta."""
    b: float | None = None
    """Second parameter of it; None is the number of columns."""
    nu: float = 1.0
    """Degrees of freedom of the prior of sigma^2."""
    lam: float = 1.0
    """Scale of the prior of sigma^2."""
    kappa0: float = 1.0
    """Starting spike penalty."""
    kappa1: float = 1.0
    """Starting slab penalty."""
    start_spread: float = 0.1
    """Standard deviation of the starting coefficients."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(
            self,
            whole={1: "num_steps thinning interval_draws"},
            positive="step_size gain_coefficient gain_offset v1 nu lam",
            at_least={0.0: "step_decay temperature kappa0 kappa1 start_spread", 1.0: "a"},
            within={
                "[0, 1)": "burn_in",
                "(0, 1)": "level",
                "(0, 1]": "gain_cap",
                "(0.5, 1]": "gain_exponent",
            },
        )
        if self.b is not None:
            guards.at_least("b", self.b, 1.0)
        if self.num_steps % self.thinning:
            raise ValueError(
                f"num_steps: got {self.num_steps}, needs to be a multiple of the thinning, "
                f"{self.thinning}"
            )
        if self.kept < self.interval_draws:
            raise ValueError(
                f"interval_draws: got {self.interval_draws}, but {self.num_steps} steps leave "
                f"{self.kept} draws; take fewer, more steps, or a lower thinning"
            )

    @property
    def discarded(self) -> int:
        """Draws left out."""
        return round(self.burn_in * (self.num_steps // self.thinning))

    @property
    def kept(self) -> int:
        """Draws that count."""
        return self.num_steps // self.thinning - self.discarded

    def step_size_at(self, count: Any) -> Any:
        """Step size of the step after `count` of them."""
        return self.step_size * (1.0 + jnp.asarray(count, float)) ** -self.step_decay

    def gain_at(self, count: Any) -> Any:
        """Gain of stochastic approximation after `count` steps."""
        k = self.gain_offset + jnp.asarray(count, float)
        return jnp.minimum(self.gain_cap, self.gain_coefficient * k**-self.gain_exponent)

    def gain_bounds(self, arm: str) -> tuple[float, float]:
        """Tell what an arm clips that gain to; one of `ARMS`."""
        guards.one_of("arm", arm, ARMS)
        return {"sa": (0.0, 1.0), "em": (1.0, 1.0), "sgld": (0.0, 0.0)}[arm]


class Cell(NamedTuple):
    """A sampler, and where its prior starts."""

    arm: str  # one of ARMS
    v0: float | None  # scale of the spike; None for the arm whose prior stays as it starts
    sigma: float  # at the start
