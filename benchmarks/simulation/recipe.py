# SPDX-License-Identifier: Apache-2.0
"""How the samplers of the large-p-small-n regression are set.

The defaults are those of the authors' R document.
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import jax.numpy as jnp

from benchmarks.harness import check
from benchmarks.harness.ranges import Count, Positive, at_least, within

Arm = Literal["sa", "em", "sgld"]

GAINS: dict[Arm, tuple[float, float]] = {"sa": (0.0, 1.0), "em": (1.0, 1.0), "sgld": (0.0, 0.0)}
"""What an arm clips the gain of the recipe to: SGLD-SA, SGLD-EM, and SGLD whose prior stays."""

NotNegative = Annotated[float, at_least(0.0)]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the samplers are set."""

    num_steps: Count = 500_000  # steps of each chain
    thinning: Count = 100  # steps between two draws
    burn_in: Annotated[float, within("[0, 1)")] = 0.2  # share of the draws left out, the first ones
    # Draws kept whole for the intervals, evenly spread over those that count.
    interval_draws: Count = 400
    level: Annotated[float, within("(0, 1)")] = 0.9  # of the intervals
    step_size: Positive = 1e-3  # eps in eps_k = eps k^-decay, k = 1, 2, ...
    step_decay: NotNegative = 1.0 / 3.0  # the decay of the step size
    temperature: NotNegative = 1.0  # T; 1 samples the posterior
    gain_cap: Annotated[float, within("(0, 1]")] = 0.1  # highest gain of stochastic approximation
    # C in the gain min(cap, C / (A + k)^alpha), k = 0, 1, ...
    gain_coefficient: Positive = 1000.0
    gain_offset: Positive = 100.0  # A, in steps
    gain_exponent: Annotated[float, within("(0.5, 1]")] = 0.7  # alpha
    v1: Positive = 10.0  # variance of the slab in units of sigma^2
    a: Annotated[float, at_least(1.0)] = 1.0  # first parameter of the Beta prior of delta
    # Second parameter of it; None is the number of columns.
    b: Annotated[float, at_least(1.0)] | None = None
    nu: Positive = 1.0  # degrees of freedom of the prior of sigma^2
    lam: Positive = 1.0  # scale of the prior of sigma^2
    kappa0: NotNegative = 1.0  # starting spike penalty
    kappa1: NotNegative = 1.0  # starting slab penalty
    start_spread: NotNegative = 0.1  # standard deviation of the starting coefficients

    def check(self) -> None:
        check(self)
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
    def draws(self) -> int:
        """Draws in all."""
        return self.num_steps // self.thinning

    @property
    def discarded(self) -> int:
        """Draws left out."""
        return round(self.burn_in * self.draws)

    @property
    def kept(self) -> int:
        """Draws that count."""
        return self.draws - self.discarded

    def step_size_at(self, count: Any) -> Any:
        """Return the step size after `count` steps."""
        return self.step_size * (1.0 + jnp.asarray(count, float)) ** -self.step_decay

    def gain_at(self, count: Any) -> Any:
        """Return the gain of stochastic approximation after `count` steps."""
        k = self.gain_offset + jnp.asarray(count, float)
        return jnp.minimum(self.gain_cap, self.gain_coefficient * k**-self.gain_exponent)


class Cell(NamedTuple):
    """A sampler, and where its prior starts: all that tells a row from another of one seed."""

    arm: Arm
    v0: float | None  # scale of the spike; None for the arm whose prior stays as it starts
    sigma: float  # at the start
