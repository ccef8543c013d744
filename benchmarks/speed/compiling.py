# SPDX-License-Identifier: Apache-2.0
"""What compiling a step takes, how often it is traced, and the memory that it needs.

Seconds are those of tracing and compiling a function that is new to JAX. Memory is what the
compiled program says of itself: arguments, temporaries and results, less the results that take the
place of arguments; as a multiple of the bytes of the parameters. The batch is among the arguments.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.harness.ranges import Count
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Contender, Race, make_races
from benchmarks.speed.nets import Net
from benchmarks.speed.sampler import state_bytes

__all__ = ["Compiling", "examine", "memory_of"]

CALLS = 5


@dataclasses.dataclass(frozen=True)
class Compiling:
    """Compiling a step."""

    nets: tuple[Net, ...] = ("mnist_cnn", "resnet20", "mlp10m")  # networks, a row each
    batch_size: Count = 100  # images a step

    def races(self) -> list[Race]:
        return make_races("compile", self, self._run, {"nets": "net"})

    def _run(self, clock: Clock, net: str) -> dict[str, Any]:
        workload = nets.make_workload(net, self.batch_size)
        starts = {"ours": nets.ours(workload), "sgd": nets.sgd(workload)}
        weights = state_bytes(workload.params)
        contenders, metrics = {}, {}
        for name, (step, state) in starts.items():
            arguments = (state, workload.batch, jax.random.key(1))
            memory, traces = examine(step, arguments)
            contenders[name] = _compiling(step, arguments)
            metrics[name] = {
                "traces": traces,
                "memory": memory,
                "peak_over_parameters": memory["peak"] / weights,
                "state_over_parameters": state_bytes(state) / weights,
            }
        times = clock.race(contenders, warm=False)
        return {"parameter_bytes": weights, "steps": metrics, "seconds": times}


def memory_of(compiled: Any) -> dict[str, int]:
    """Read the bytes that a compiled program needs while it runs, and their sum."""
    analysis = compiled.memory_analysis()
    parts = {
        "arguments": analysis.argument_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
        "results": analysis.output_size_in_bytes,
        "aliased": analysis.alias_size_in_bytes,
    }
    total = parts["arguments"] + parts["temporaries"] + parts["results"] - parts["aliased"]
    return parts | {"peak": total}


def examine(step: Callable[..., Any], arguments: Any) -> tuple[dict[str, int], int]:
    """Compile a step once; read its memory, and count how often a few calls trace it."""
    traced = 0

    def counted(state: Any, *rest: Any) -> Any:
        nonlocal traced
        traced += 1
        return step(state, *rest)

    program = nets.compiled(counted)
    memory = memory_of(program.lower(*arguments).compile())
    state, *rest = arguments
    state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    for _ in range(CALLS):
        state = program(state, *rest)
    jax.block_until_ready(state)
    return memory, traced


def _compiling(step: Callable[..., Any], arguments: Any) -> Contender:
    def run(count: int) -> None:
        for _ in range(count):
            # JAX knows a function by its identity, and compiles one that it has not seen.
            nets.compiled(functools.partial(step)).lower(*arguments).compile()

    return run
