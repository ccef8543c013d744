# SPDX-License-Identifier: Apache-2.0
"""One training step: ours over plain SGD on the same network and batch, and what each part costs.

Contenders: `sgd`, optax's with momentum 0.9; `floor`, the same and a `jax.random.normal` for each
weight; `strict_floor`, the same and those normals as we draw them, which is faster; `ours`, SGHMC
with noise, the latents adapted and 90 % of the weights pruned by magnitude at every step;
`no_noise`, `no_latents`, `no_pruning`, ours without that part; `bare`, without all of them.
The state is used up by each step, as in a training loop.
"""

import dataclasses
from typing import Any

import jax

from aeb.dynamics.noise import standard_normal_like
from benchmarks.harness.ranges import Count
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Contender, Race, make_races, stepping
from benchmarks.speed.nets import Net

__all__ = ["Step"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step."""

    nets: tuple[Net, ...] = ("mnist_cnn", "resnet20", "mlp10m")  # networks, a row each
    batch_size: Count = 100  # images a step
    parts: bool = True  # whether to leave out each part of ours in turn

    def races(self) -> list[Race]:
        return make_races("step", self, self._run, {"nets": "net"})

    def _run(self, clock: Clock, net: str) -> dict[str, Any]:
        workload, key = nets.make_workload(net, self.batch_size), jax.random.key(1)

        def racing(step: Any, start: Any) -> Contender:
            return stepping(nets.compiled(step), start, workload.batch, key)

        contenders = {
            name: racing(*nets.sgd(workload, draw=draw))
            for name, draw in (
                ("sgd", None),
                ("floor", nets.normals_like),
                ("strict_floor", standard_normal_like),
            )
        }
        for name, without in nets.variants(self.parts).items():
            contenders[name] = racing(*nets.ours(workload, without))
        return {"weights": workload.size, "seconds": clock.race(contenders)}
