# SPDX-License-Identifier: Apache-2.0
"""What a step of the simulation costs, against the two products that it cannot do without.

Microseconds a step of SGLD-SA on D regressions with C chains each, in a compiled loop, beside those
of a loop of nothing but x beta and x' r on the same data. Above the products, a step has the normal
draw, which the chains of a data set share, and the update of the latents.

A row is the shortest of a few timings, the two loops in turn; on a machine that others use too it
is an upper bound.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import frame
from aeb import guards
from large_p import Cell, DataSet, Design, Recipe, build

__all__ = ["NAME", "PRESETS", "StepCost", "main"]

NAME = "step_cost"

DESCRIPTION = "Microseconds a step of the large-p-small-n simulation, against two bare products."


@dataclasses.dataclass(frozen=True)
class StepCost(frame.Settings):
    """The settings of this script."""

    data_sets: tuple[int, ...] = (1, 8)
    """Data sets under one vmap, a row each."""
    chains: tuple[int, ...] = (1, 10)
    """Chains a data set, a row each."""
    repeats: int = 3
    """Timings of each, of which the shortest counts."""
    seconds: float = 1.0
    """Least time that a timing takes."""
    design: Design = dataclasses.field(default_factory=Design)
    """What the data are drawn from."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        self.design.check()
        guards.whole("repeats", self.repeats, 1)
        guards.positive("seconds", self.seconds)
        for name in ("data_sets", "chains"):
            if not getattr(self, name):
                raise ValueError(f"{name}: name at least one number of them")
            for count in getattr(self, name):
                guards.whole(name, count, 1)

    def units(self) -> list[frame.Unit]:
        """List the numbers of data sets and chains."""
        return [
            frame.Unit(
                name=f"{sets} data sets, {chains} chains",
                configs=(
                    {
                        "data_sets": sets,
                        "chains": chains,
                        "repeats": self.repeats,
                        "seconds": self.seconds,
                        "design": dataclasses.asdict(self.design),
                    },
                ),
                seeds=(self.seed,),
                size=1,
                run=functools.partial(self._run, sets, chains),
            )
            for sets in dict.fromkeys(self.data_sets)
            for chains in dict.fromkeys(self.chains)
        ]

    def _run(
        self, sets: int, chains: int, folder: Path, report: Any
    ) -> tuple[float, list[dict[str, Any]]]:
        """Time both loops; too short a work to be checkpointed."""
        del folder
        began = time.monotonic()
        cells = (Cell("sa", 0.1, 1.0),) * chains
        programs = build(self.design, Recipe(interval_draws=1), cells)
        data, keys, carry = programs.start(jnp.arange(self.seed, self.seed + sets))

        @jax.jit
        def steps(pair: Any, data: DataSet, length: Any) -> Any:
            return jax.lax.fori_loop(
                0, length, lambda _, pair: programs.step(*pair, data, keys), pair
            )

        @jax.jit
        def products(beta: jax.Array, data: DataSet, length: Any) -> jax.Array:
            def one(beta: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
                residual = y - jnp.matmul(x, beta, precision="highest")
                return beta + 1e-5 * jnp.matmul(residual, x, precision="highest")

            def step(_: Any, beta: jax.Array) -> jax.Array:
                of_set = jax.vmap(one, in_axes=(0, None, None))
                return jax.vmap(of_set)(beta, data.x, data.y)

            return jax.lax.fori_loop(0, length, step, beta)

        ours = functools.partial(steps, (carry.chain, carry.residual), data)
        bare = functools.partial(products, carry.chain.position, data)
        timings = [(self._time(ours), self._time(bare)) for _ in range(self.repeats)]
        step_us, bare_us = (min(times) for times in zip(*timings, strict=True))
        report(1)
        metrics = {"step_us": step_us, "products_us": bare_us, "ratio": step_us / bare_us}
        return time.monotonic() - began, [metrics]

    def _time(self, loop: Callable[[int], Any]) -> float:
        """Microseconds a pass of a loop that takes its length."""
        length, took = 1, 0.0
        jax.block_until_ready(loop(length))
        while took < self.seconds:
            length *= 2
            began = time.perf_counter()
            jax.block_until_ready(loop(length))
            took = time.perf_counter() - began
        return took / length * 1e6


PRESETS = {
    "smoke": StepCost(preset="smoke", repeats=1, seconds=0.2),
    "cpu": StepCost(preset="cpu", data_sets=(1, 8, 50)),
    "paper": StepCost(preset="paper", data_sets=(1, 8, 50), repeats=10),
}


def main(args: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return frame.main(NAME, PRESETS, args, description=DESCRIPTION)


if __name__ == "__main__":
    sys.exit(main())
