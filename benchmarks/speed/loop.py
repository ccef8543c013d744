# SPDX-License-Identifier: Apache-2.0
"""The same steps dispatched one by one, by `aeb.sample`, and in a plain `lax.scan`.

The data lie on the device. `dispatched` and `scan` take minibatches by a slice, in order;
`aeb.sample` also shuffles, and its time includes what a call of it does once.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

import aeb
from benchmarks.harness import check
from benchmarks.harness.ranges import Count
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Race, make_races, stepping
from benchmarks.speed.nets import Net

__all__ = ["Loop"]


@dataclasses.dataclass(frozen=True)
class Loop:
    """Ways to run many steps."""

    nets: tuple[Net, ...] = ("mlp", "mnist_cnn", "resnet20")  # networks, a row each
    steps: tuple[Count, ...] = (300, 32, 6)  # steps in one timing, for each network
    batch_size: Count = 100  # images a step
    num_batches: Count = 10  # minibatches that the data hold

    def check(self) -> None:
        check(self)
        nets.check_steps(self.nets, self.steps)

    def races(self) -> list[Race]:
        return make_races("loop", self, self._run, {"nets": "net", "steps": "steps"})

    def _run(self, clock: Clock, net: str, steps: int) -> dict[str, Any]:
        size, batches = self.batch_size, self.num_batches
        workload, key = nets.make_workload(net, size * batches), jax.random.key(1)
        data, (step, start) = workload.batch, nets.ours(workload)

        def advance(state: aeb.State, data: Any, key: jax.Array) -> aeb.State:
            first = jnp.remainder(state.step, batches) * size
            batch = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, size), data)
            return step(state, batch, key)

        def scan(state: aeb.State, data: Any, key: jax.Array) -> aeb.State:
            def one(state: aeb.State, _: None) -> tuple[aeb.State, None]:
                return advance(state, data, key), None

            return jax.lax.scan(one, state, length=steps)[0]

        contenders = {
            "dispatched": stepping(nets.compiled(advance), start, data, key, times=steps),
            "sample": nets.sampling(workload, data, key, steps=steps, batch_size=size),
            "scan": stepping(nets.compiled(scan), start, data, key),
        }
        return {"weights": workload.size, "seconds": clock.race(contenders, per=steps)}
