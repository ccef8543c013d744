# SPDX-License-Identifier: Apache-2.0
"""Our training step over PyTorch's, on the same network, batch and cores.

`torch_sgd` and `torch_sampler` are those of `torch_nets`, eager; `sgd` and `ours` those of
`nets`, compiled and dispatched one by one; `sample` is `ours` as `aeb.sample` runs it, and its
time includes what a call of that does once. PyTorch gets as many threads as this process has cores.
Beside them, the convolutions of a step alone, as `convolutions` does them.
"""

import dataclasses
import os
from typing import Annotated, Any

import jax
import numpy as np

from benchmarks.harness import check
from benchmarks.harness.ranges import Count, one_of
from benchmarks.speed import convolutions, nets
from benchmarks.speed.clock import Clock, Contender, Race, make_races, repeating, stepping

__all__ = ["Torch"]

Known = Annotated[str, one_of("mnist_cnn", "resnet20", "small_cnn", "small_resnet")]


@dataclasses.dataclass(frozen=True)
class Torch:
    """PyTorch's step."""

    nets: tuple[Known, ...] = ("mnist_cnn", "resnet20")  # networks, a row each
    # Steps in one timing, for each network; of `sample`, in one call.
    steps: tuple[Count, ...] = (32, 4)
    batch_size: Count = 100  # images a step

    def check(self) -> None:
        check(self)
        nets.check_steps(self.nets, self.steps)

    def races(self) -> list[Race]:
        each = {"nets": "net", "steps": "steps"}
        return make_races("torch", self, self._run, each, needs="torch")

    def _run(self, clock: Clock, net: str, steps: int) -> dict[str, Any]:
        import torch

        from benchmarks.speed import torch_nets

        batch_size = self.batch_size
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        workload, key = nets.make_workload(net, batch_size), jax.random.key(1)
        image = np.asarray(workload.batch["image"]).transpose(0, 3, 1, 2)
        batch = (torch.tensor(image), torch.tensor(np.asarray(workload.batch["label"])).long())
        peers = [torch_nets.make_net(net) for _ in range(2)]
        sizes = {sum(p.numel() for p in peer.parameters()) for peer in peers}
        if sizes != {workload.size}:
            raise ValueError(f"nets: PyTorch's {net} has {sizes} parameters, ours {workload.size}")

        def racing(step: Any, start: Any) -> Contender:
            return stepping(nets.compiled(step), start, workload.batch, key, times=steps)

        by_sgd = torch_nets.sgd(peers[0], batch, nets.RATE)
        by_sampler = torch_nets.sampler(peers[1], batch, nets.RATE, nets.NUM_DATA)
        sample = nets.sampling(workload, workload.batch, key, steps=steps, batch_size=batch_size)
        contenders = {
            "torch_sgd": repeating(by_sgd, steps),
            "torch_sampler": repeating(by_sampler, steps),
            "sgd": racing(*nets.sgd(workload)),
            "ours": racing(*nets.ours(workload)),
            "sample": sample,
            **convolutions.contenders(net, batch_size, steps),
        }
        return {
            "weights": workload.size,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "seconds": clock.race(contenders, per=steps),
        }
