# SPDX-License-Identifier: Apache-2.0
"""One training step: ours over plain SGD on the same network and batch, and what each part costs.

Contenders: `sgd`, optax's with momentum 0.9; `floor`, the same and a `jax.random.normal` for each
weight; `strict_floor`, the same and those normals as we draw them, which is faster; `ours`, SGHMC
with noise, the latents adapted and 90 % of the weights pruned by magnitude at every step;
`no_noise`, `no_latents`, `no_pruning`, ours without that part; `bare`, without all of them.
The state is used up by each step, as in a training loop.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax

from aeb.dynamics.noise import standard_normal_like
from benchmarks.harness import check
from benchmarks.speed.clock import Case, Clock, Contender, copied, stepping
from benchmarks.speed.nets import (
    NETS,
    algorithm,
    compiled,
    kernel_step,
    make_problem,
    normals_like,
    sgd_state,
    sgd_step,
    variants,
)

__all__ = ["Step"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step."""

    nets: tuple[str, ...] = ("mnist_cnn", "resnet20", "mlp10m")
    """Networks, a row each."""
    batch_size: int = 100
    """Images a step."""
    parts: bool = True
    """Whether to leave out each part of ours in turn."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(self, whole={1: "batch_size"}, one_of={tuple(NETS): "nets"})

    def cases(self) -> list[Case]:
        """List the rows."""
        shared = {"batch_size": self.batch_size, "parts": self.parts}
        return [
            Case(
                f"step of {net}",
                {"section": "step", "net": net} | shared,
                functools.partial(_run, net, self.batch_size, self.parts),
            )
            for net in self.nets
        ]


def _run(net: str, batch_size: int, parts: bool, clock: Clock, folder: Path) -> dict[str, Any]:
    del folder
    problem = make_problem(net, batch_size)
    key = jax.random.key(1)

    def racing(step: Any, state: Any) -> Contender:
        return stepping(compiled(step), copied(state), problem.batch, key)

    contenders = {
        "sgd": racing(sgd_step(problem), sgd_state(problem)),
        "floor": racing(sgd_step(problem, draw=normals_like), sgd_state(problem)),
        "strict_floor": racing(sgd_step(problem, draw=standard_normal_like), sgd_state(problem)),
    }
    for name, without in variants(parts).items():
        own = algorithm(without)
        start = own.init(problem.params, problem.model_state)
        contenders[name] = racing(kernel_step(problem, own), start)
    return {"weights": problem.size, "seconds": clock.race(contenders)}
