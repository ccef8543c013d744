# SPDX-License-Identifier: Apache-2.0
"""A step of the large-p-small-n simulation, for one data set and for many.

SGLD-SA in a compiled loop, as `simulation` runs it, a chain a data set; beside it a loop of
nothing but x beta and x' r on the same data, which no step can do without. Contenders are `step_D`
and `products_D` for D data sets.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.harness.ranges import Count
from benchmarks.simulation.design import DataSet, Design
from benchmarks.simulation.recipe import Cell, Recipe
from benchmarks.simulation.sampler import build
from benchmarks.speed.clock import Clock, Contender, Section, turning


@dataclasses.dataclass(frozen=True)
class Regressions(Section):
    """A step of the simulation."""

    each = (("chains", "chains"),)

    data_sets: tuple[Count, ...] = (1, 50)  # data sets under one vmap
    chains: tuple[Count, ...] = (1, 10)  # chains a data set, a row each
    design: Design = Design()  # what the data are drawn from

    def measure(self, clock: Clock, chains: int) -> dict[str, Any]:
        cells = (Cell("sa", 0.1, 1.0),) * chains
        programs = build(self.design, Recipe(interval_draws=1), cells)

        def step(pair: Any, data: DataSet, keys: Any) -> Any:
            return programs.step(*pair, data, keys)

        contenders: dict[str, Contender] = {}
        for count in dict.fromkeys(self.data_sets):
            data, keys, carry = programs.start(jnp.arange(count))
            pair = carry.chain, carry.residual
            contenders[f"step_{count}"] = turning(step, pair, data, keys)
            contenders[f"products_{count}"] = turning(_products, carry.chain.position, data)
        return {"seconds": clock.race(contenders)}


def _products(beta: jax.Array, data: DataSet) -> jax.Array:
    def one(beta: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        residual = y - jnp.matmul(x, beta, precision="highest")
        return beta + 1e-5 * jnp.matmul(residual, x, precision="highest")

    of_set = jax.vmap(one, in_axes=(0, None, None))
    return jax.vmap(of_set)(beta, data.x, data.y)
