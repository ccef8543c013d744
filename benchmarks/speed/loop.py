# SPDX-License-Identifier: Apache-2.0
"""The same steps dispatched one by one, by `aeb.sample`, and in a plain `lax.scan`.

The data lie on the device. `dispatched` and `scan` take minibatches by a slice, in order;
`aeb.sample` also shuffles, and its time includes what a call of it does once.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import aeb
from benchmarks.harness import check
from benchmarks.speed.clock import Case, Clock, copied
from benchmarks.speed.nets import (
    NETS,
    NUM_DATA,
    algorithm,
    check_steps,
    compiled,
    kernel_step,
    make_problem,
)

__all__ = ["Loop"]


@dataclasses.dataclass(frozen=True)
class Loop:
    """Ways to run many steps."""

    nets: tuple[str, ...] = ("mlp", "mnist_cnn", "resnet20")
    """Networks, a row each."""
    steps: tuple[int, ...] = (300, 32, 6)
    """Steps in one timing, for each network."""
    batch_size: int = 100
    """Images a step."""
    num_batches: int = 10
    """Minibatches that the data hold."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(self, whole={1: "batch_size num_batches"})
        check_steps(self.nets, self.steps, tuple(NETS))

    def cases(self) -> list[Case]:
        """List the rows."""
        shared = {"batch_size": self.batch_size, "num_batches": self.num_batches}
        return [
            Case(
                f"loop over {net}",
                {"section": "loop", "net": net, "steps": steps} | shared,
                functools.partial(self._run, net, steps),
            )
            for net, steps in zip(self.nets, self.steps, strict=True)
        ]

    def _run(self, net: str, steps: int, clock: Clock, folder: Path) -> dict[str, Any]:
        del folder
        size, batches = self.batch_size, self.num_batches
        problem = make_problem(net, size * batches)
        data, key, own = problem.batch, jax.random.key(1), algorithm()
        kernel = aeb.build_kernel(own, problem.loss_fn, num_data=NUM_DATA, has_aux=problem.has_aux)
        step = kernel_step(problem, own)

        def advance(state: aeb.State, data: Any, key: jax.Array) -> aeb.State:
            start = jnp.remainder(state.step, batches) * size
            batch = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), data)
            return step(state, batch, key)

        def scanned(state: aeb.State, data: Any, key: jax.Array) -> aeb.State:
            def one(state: aeb.State, _: None) -> tuple[aeb.State, None]:
                return advance(state, data, key), None

            return jax.lax.scan(one, state, length=steps)[0]

        dispatch = compiled(advance)
        scan = compiled(scanned)
        start = own.init(problem.params, problem.model_state)
        held = {name: copied(start) for name in ("dispatched", "sample", "scan")}

        def dispatched(count: int) -> None:
            state = held.pop("dispatched")
            for _ in range(count * steps):
                state = dispatch(state, data, key)
            held["dispatched"] = jax.block_until_ready(state)

        def scanning(count: int) -> None:
            state = held.pop("scan")
            for _ in range(count):
                state = scan(state, data, key)
            held["scan"] = jax.block_until_ready(state)

        def sampling(count: int) -> None:
            state, _ = aeb.sample(
                kernel,
                held["sample"],
                data,
                key,
                num_steps=count * steps,
                batch_size=size,
                progress=False,
            )
            held["sample"] = jax.block_until_ready(state)

        contenders = {"dispatched": dispatched, "sample": sampling, "scan": scanning}
        return {"weights": problem.size, "seconds": clock.race(contenders, per=steps)}
