# SPDX-License-Identifier: Apache-2.0
"""Many chains by vmap on a small network: seconds a step of all of them, over those of one.

`aeb.chains` in a compiled loop, with noise, adaptation and pruning; a contender is named after its
number of chains. All chains see the same minibatch.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

import aeb
from benchmarks.harness.ranges import Count
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Contender, Race, make_races, turning
from benchmarks.speed.nets import Net

__all__ = ["Chains"]


@dataclasses.dataclass(frozen=True)
class Chains:
    """Chains by vmap."""

    counts: tuple[Count, ...] = (1, 2, 4, 8, 16, 32)  # numbers of chains
    net: Net = "small_mlp"  # the network
    batch_size: Count = 100  # rows of a minibatch

    def races(self) -> list[Race]:
        return make_races("chains", self, self._run)

    def _run(self, clock: Clock) -> dict[str, Any]:
        workload, sampler = nets.make_workload(self.net, self.batch_size), nets.algorithm()
        many, start = aeb.chains(workload.kernel(sampler)), workload.start(sampler)

        def racing(count: int) -> Contender:
            def step(states: Any, batch: Any, key: jax.Array) -> Any:
                keys = jax.random.split(jax.random.fold_in(key, states.step[0]), count)
                return many(states, batch, keys)

            starts = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), start)
            options = {"compiler_options": aeb.compiler_options()}
            return turning(step, starts, workload.batch, jax.random.key(1), **options)

        contenders = {str(count): racing(count) for count in dict.fromkeys(self.counts)}
        return {"weights": workload.size, "seconds": clock.race(contenders)}
