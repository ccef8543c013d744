# SPDX-License-Identifier: Apache-2.0
"""A step of the large-p-small-n simulation, for one data set and for many.

SGLD-SA in a compiled loop, as `simulation` runs it, a chain a data set; beside it a loop of
nothing but x beta and x' r on the same data, which no step can do without. Contenders are `step_D`
and `products_D` for D data sets.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

import aeb
from benchmarks.harness.ranges import Count
from benchmarks.simulation.design import DataSet, Design
from benchmarks.simulation.recipe import Cell, Recipe
from benchmarks.simulation.sampler import build
from benchmarks.speed.clock import Clock, Contender, Race, make_races

__all__ = ["Regressions"]


@dataclasses.dataclass(frozen=True)
class Regressions:
    """A step of the simulation."""

    data_sets: tuple[Count, ...] = (1, 50)  # data sets under one vmap
    chains: tuple[Count, ...] = (1, 10)  # chains a data set, a row each
    design: Design = Design()  # what the data are drawn from

    def races(self) -> list[Race]:
        return make_races("simulation", self, self._run, {"chains": "chains"})

    def _run(self, clock: Clock, chains: int) -> dict[str, Any]:
        cells = (Cell("sa", 0.1, 1.0),) * chains
        programs = build(self.design, Recipe(interval_draws=1), cells)

        @functools.partial(jax.jit, compiler_options=aeb.compiler_options())
        def steps(pair: Any, data: DataSet, keys: Any, length: Any) -> Any:
            return jax.lax.fori_loop(
                0, length, lambda _, pair: programs.step(*pair, data, keys), pair
            )

        products = jax.jit(_products, compiler_options=aeb.compiler_options())
        contenders: dict[str, Contender] = {}
        for count in dict.fromkeys(self.data_sets):
            data, keys, carry = programs.start(jnp.arange(count))
            ours = functools.partial(steps, (carry.chain, carry.residual), data, keys)
            bare = functools.partial(products, carry.chain.position, data)
            contenders[f"step_{count}"] = functools.partial(_blocking, ours)
            contenders[f"products_{count}"] = functools.partial(_blocking, bare)
        return {"seconds": clock.race(contenders)}


def _blocking(loop: Any, length: int) -> None:
    jax.block_until_ready(loop(length))


def _products(beta: jax.Array, data: DataSet, length: Any) -> jax.Array:
    def one(beta: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        residual = y - jnp.matmul(x, beta, precision="highest")
        return beta + 1e-5 * jnp.matmul(residual, x, precision="highest")

    def step(_: Any, beta: jax.Array) -> jax.Array:
        of_set = jax.vmap(one, in_axes=(0, None, None))
        return jax.vmap(of_set)(beta, data.x, data.y)

    return jax.lax.fori_loop(0, length, step, beta)
