# SPDX-License-Identifier: Apache-2.0
"""Large p, small n: the paper's simulated regression, by SGLD-SA, SGLD-EM and SGLD.

    SGLD-SA   latents by stochastic approximation, gain min(cap, C / (A + k)^alpha); at the default
              C = 1000, A = 100, alpha = 0.7 the cap of 0.1 binds for the first 500,000 steps
    SGLD-EM   gain 1
    SGLD      gain 0: the prior stays at its start, Laplace and Gaussian part both; the authors' own
              run lost the Laplace part to a line break. Nothing reads v0 then, so it has no v0

The cells (an arm, its v0 and its starting sigma) see the same data, start and noise. All have the
same prior and run on the full batch, at temperature 1, with the step size eps_k = eps k^-1/3. The
recipe is that of the authors' R document, without the noise of variance 0.01 that it adds to the
gradient, with the fresh rows drawn from the coefficients of the rows fitted, and with sigma itself
averaged (as the paper writes), not its square.

An estimate is the mean over the draws that are kept, all of equal weight. Inclusion probabilities
are the means of rho over the same draws; a coefficient is a discovery above 0.5.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from benchmarks import harness
from benchmarks.harness.ranges import Count, Positive, Some
from benchmarks.simulation.design import Design
from benchmarks.simulation.recipe import Arm, Cell, Recipe
from benchmarks.simulation.sampler import build
from benchmarks.simulation.scores import score

PICTURED = 0
"""Seed of the data set that the figure shows."""


@dataclasses.dataclass(frozen=True)
class Simulation(harness.Settings):
    arms: Some[Arm] = ("sa", "em", "sgld")  # samplers: SGLD-SA, SGLD-EM, SGLD
    v0: Some[Positive] = (0.01, 0.1)  # scales of the spike, each run with each sigma
    sigma: Some[Positive] = (1.0, 2.0)  # starting values of sigma
    data_sets: Count = 2  # data sets, with the seeds seed, seed + 1, ...
    together: Count = 1  # data sets in one compiled call; more pay on a GPU. Rounding may differ
    design: Design = dataclasses.field(default_factory=Design)  # what the data are drawn from
    recipe: Recipe = dataclasses.field(default_factory=Recipe)  # how the samplers are set

    def cells(self) -> tuple[Cell, ...]:
        """List what the arms, v0 and sigma are combined to."""
        return tuple(
            Cell(arm, v0, sigma)
            for arm in dict.fromkeys(self.arms)
            for v0 in (dict.fromkeys(self.v0) if arm != "sgld" else (None,))
            for sigma in dict.fromkeys(self.sigma)
        )

    def seeds_of(self, cell: Cell) -> range:
        return range(self.seed, self.seed + self.data_sets)

    def config(self, cell: Cell) -> dict[str, Any]:
        shared = {"design": dataclasses.asdict(self.design)}
        return cell._asdict() | shared | {"recipe": dataclasses.asdict(self.recipe)}

    def units(self) -> list[harness.Unit]:
        """List the data sets, in batches, all cells of a batch in one unit."""
        seeds = range(self.seed, self.seed + self.data_sets)
        batches = [
            tuple(seeds[first : first + self.together])
            for first in range(0, len(seeds), self.together)
        ]
        configs = tuple(self.config(cell) for cell in self.cells())
        return [
            harness.Unit(
                name=f"data sets {batch[0]} to {batch[-1]}",
                configs=configs,
                seeds=batch,
                size=self.recipe.num_steps * len(batch) * len(configs),
                run=functools.partial(self._run, batch),
            )
            for batch in batches
        ]

    def _run(self, seeds: tuple[int, ...], folder: Path, report: Any) -> harness.Measured:
        cells, recipe = self.cells(), self.recipe
        steps = recipe.thinning * len(seeds) * len(cells)  # from draw to draw
        programs = build(self.design, recipe, cells)
        data, keys, carry = programs.start(jnp.asarray(seeds))
        carry = programs.advance(carry, data, keys, 0)  # compiled before the clock starts
        checkpoints = harness.Checkpoints(folder, self.checkpoint_every)
        carry = harness.run_in_slices(
            lambda carry, draws: programs.advance(carry, data, keys, draws),
            carry,
            lambda carry: int(carry.chain.step[0, 0]) // recipe.thinning,
            recipe.draws,
            checkpoints,
            lambda draws: report(draws * steps),
        )
        seconds = checkpoints.seconds
        pictures = [seed == PICTURED for seed in seeds]
        metrics = score(self.design, recipe, cells, data, carry, pictures=pictures)
        return seconds, [of_set for of_cell in metrics for of_set in of_cell]


PRESETS = {
    "smoke": Simulation(
        preset="smoke",
        data_sets=2,
        recipe=Recipe(num_steps=500, thinning=5, interval_draws=50),
    ),
    "cpu": Simulation(preset="cpu", data_sets=8, recipe=Recipe(num_steps=60_000, thinning=100)),
    "paper": Simulation(preset="paper", data_sets=50),
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
