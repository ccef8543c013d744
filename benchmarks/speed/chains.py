# SPDX-License-Identifier: Apache-2.0
"""Many chains by vmap on a small network: seconds a step of all of them, over those of one.

`aeb.chains` in a compiled loop, with noise, adaptation and pruning; a contender is named after its
number of chains. All chains see the same minibatch.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax

import aeb
from benchmarks.harness import check
from benchmarks.speed.clock import Case, Clock, Contender
from benchmarks.speed.nets import NETS, NUM_DATA, algorithm, make_problem

__all__ = ["Chains"]


@dataclasses.dataclass(frozen=True)
class Chains:
    """Chains by vmap."""

    counts: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Numbers of chains."""
    net: str = "small_mlp"
    """The network."""
    batch_size: int = 100
    """Rows of a minibatch."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(self, whole={1: "batch_size counts"}, one_of={tuple(NETS): "net"})

    def cases(self) -> list[Case]:
        """List the row."""
        config = {"section": "chains"} | dataclasses.asdict(self) | {"counts": list(self.counts)}
        return [Case("chains", config, self._run)]

    def _run(self, clock: Clock, folder: Path) -> dict[str, Any]:
        del folder
        problem = make_problem(self.net, self.batch_size)
        own = algorithm()
        kernel = aeb.build_kernel(own, problem.loss_fn, num_data=NUM_DATA, has_aux=problem.has_aux)
        many = aeb.chains(kernel)

        def racing(count: int) -> Contender:
            @functools.partial(jax.jit, donate_argnums=0, compiler_options=aeb.compiler_options())
            def loop(states: Any, batch: Any, key: jax.Array, steps: Any) -> Any:
                def one(_: Any, states: Any) -> Any:
                    keys = jax.random.split(jax.random.fold_in(key, states.step[0]), count)
                    return many(states, batch, keys)

                return jax.lax.fori_loop(0, steps, one, states)

            state = own.init(problem.params, problem.model_state)
            held = [jax.tree.map(lambda leaf: jax.numpy.stack([leaf] * count), state)]

            def run(steps: int) -> None:
                states = loop(held.pop(), problem.batch, jax.random.key(1), steps)
                held.append(jax.block_until_ready(states))

            return run

        contenders = {str(count): racing(count) for count in dict.fromkeys(self.counts)}
        return {"weights": problem.size, "seconds": clock.race(contenders)}
