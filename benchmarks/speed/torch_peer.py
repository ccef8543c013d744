# SPDX-License-Identifier: Apache-2.0
"""Our training step over PyTorch's, on the same network, batch and cores.

`torch_sgd` and `torch_sampler` are those of `torch_nets`, eager; `sgd` and `ours` those of
`nets`, compiled and dispatched one by one; `sample` is `ours` as `aeb.sample` runs it, and its
time includes what a call of that does once. PyTorch gets as many threads as this process has cores.
Beside them, the convolutions of a step alone, as `convolutions` does them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import aeb
from benchmarks.harness import check
from benchmarks.speed import convolutions
from benchmarks.speed.clock import Case, Clock, Contender, copied, stepping
from benchmarks.speed.nets import (
    NUM_DATA,
    RATE,
    algorithm,
    check_steps,
    compiled,
    kernel_step,
    make_problem,
    sgd_state,
    sgd_step,
)

__all__ = ["Torch"]

KNOWN = ("mnist_cnn", "resnet20", "small_cnn", "small_resnet")


@dataclasses.dataclass(frozen=True)
class Torch:
    """PyTorch's step."""

    nets: tuple[str, ...] = ("mnist_cnn", "resnet20")
    """Networks, a row each."""
    steps: tuple[int, ...] = (32, 4)
    """Steps in one timing, for each network; of `sample`, in one call."""
    batch_size: int = 100
    """Images a step."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(self, whole={1: "batch_size"})
        check_steps(self.nets, self.steps, KNOWN)

    def cases(self) -> list[Case]:
        """List the rows."""
        return [
            Case(
                f"PyTorch on {net}",
                {"section": "torch", "net": net, "steps": steps, "batch_size": self.batch_size},
                functools.partial(_run, net, steps, self.batch_size),
                needs="torch",
            )
            for net, steps in zip(self.nets, self.steps, strict=True)
        ]


def _run(net: str, steps: int, batch_size: int, clock: Clock, folder: Path) -> dict[str, Any]:
    del folder
    import torch

    from benchmarks.speed import torch_nets

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    problem, key = make_problem(net, batch_size), jax.random.key(1)
    image = np.asarray(problem.batch["image"]).transpose(0, 3, 1, 2)
    batch = (torch.tensor(image), torch.tensor(np.asarray(problem.batch["label"])).long())
    nets = [torch_nets.make_net(net) for _ in range(2)]
    sizes = {sum(p.numel() for p in own.parameters()) for own in nets}
    if sizes != {problem.size}:
        raise ValueError(f"nets: PyTorch's {net} has {sizes} parameters, ours {problem.size}")
    own = algorithm()
    kernel = aeb.build_kernel(own, problem.loss_fn, num_data=NUM_DATA, has_aux=problem.has_aux)

    def racing(step: Any, state: Any) -> Contender:
        run = stepping(compiled(step), copied(state), problem.batch, key)
        return lambda count: run(count * steps)

    start = own.init(problem.params, problem.model_state)
    held = [copied(start)]

    def sampling(count: int) -> None:
        state, _ = aeb.sample(
            kernel,
            held.pop(),
            problem.batch,
            key,
            num_steps=count * steps,
            batch_size=batch_size,
            progress=False,
        )
        held.append(jax.block_until_ready(state))

    contenders = {
        "torch_sgd": _repeated(torch_nets.sgd(nets[0], batch, RATE), steps),
        "torch_sampler": _repeated(torch_nets.sampler(nets[1], batch, RATE, NUM_DATA), steps),
        "sgd": racing(sgd_step(problem), sgd_state(problem)),
        "ours": racing(kernel_step(problem, own), start),
        "sample": sampling,
        **convolutions.contenders(net, batch_size, steps),
    }
    return {
        "weights": problem.size,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "seconds": clock.race(contenders, per=steps),
    }


def _repeated(step: Callable[[], None], steps: int) -> Contender:
    def run(count: int) -> None:
        for _ in range(count * steps):
            step()

    return run
