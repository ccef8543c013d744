# SPDX-License-Identifier: Apache-2.0
"""What a step of the simulation costs, against the two products that it cannot do without.

Microseconds a step of SGLD-SA on D regressions under one vmap, in a compiled loop, beside those of
a loop of nothing but x beta and x' r on the same data. `aeb.build_kernel` does three products a
step for the Gaussian likelihood: the residuals at the new position enter the latents, and the next
step works them out again for its gradient. The rest is the normal draw and the update of the
latents.

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
from large_p import DataSet, Design, Recipe, build

__all__ = ["NAME", "PRESETS", "StepCost", "main"]

NAME = "step_cost"

DESCRIPTION = "Microseconds a step of the large-p-small-n simulation, against two bare products."


@dataclasses.dataclass(frozen=True)
class StepCost(frame.Settings):
    """The settings of this script."""

    data_sets: tuple[int, ...] = (1, 8)
    """Data sets under one vmap, a row each."""
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
        if not self.data_sets:
            raise ValueError("data_sets: name at least one number of them")
        for count in self.data_sets:
            guards.whole("data_sets", count, 1)

    def units(self) -> list[frame.Unit]:
        """List the numbers of data sets."""
        return [
            frame.Unit(
                name=f"{count} data sets",
                config={
                    "data_sets": count,
                    "repeats": self.repeats,
                    "seconds": self.seconds,
                    "design": dataclasses.asdict(self.design),
                },
                seeds=(self.seed,),
                size=1,
                run=functools.partial(self._run, count),
            )
            for count in dict.fromkeys(self.data_sets)
        ]

    def _run(self, count: int, folder: Path, report: Any) -> tuple[float, list[dict[str, Any]]]:
        """Time both loops; too short a work to be checkpointed."""
        del folder
        began = time.monotonic()
        programs = build(self.design, Recipe(interval_draws=1), "sa", 0.1)
        kernel = programs.kernel  # taken alone: the loop below gathers nothing
        seeds = jnp.arange(self.seed, self.seed + count)
        data, keys, carry = programs.start(seeds, jnp.asarray(1.0, float))

        @jax.jit
        def steps(chain: Any, data: DataSet, length: Any) -> Any:
            def step(_: Any, chain: Any) -> Any:
                own = jax.vmap(jax.random.fold_in)(keys, chain.step)
                return jax.vmap(kernel)(chain, (data.x, data.y), own)

            return jax.lax.fori_loop(0, length, step, chain)

        @jax.jit
        def products(beta: jax.Array, data: DataSet, length: Any) -> jax.Array:
            def one(beta: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
                residual = y - jnp.matmul(x, beta, precision="highest")
                return beta + 1e-5 * jnp.matmul(residual, x, precision="highest")

            def step(_: Any, beta: jax.Array) -> jax.Array:
                return jax.vmap(one)(beta, data.x, data.y)

            return jax.lax.fori_loop(0, length, step, beta)

        ours = functools.partial(steps, carry.chain, data)
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
