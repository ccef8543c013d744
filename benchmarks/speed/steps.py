# SPDX-License-Identifier: Apache-2.0
"""Training steps on the networks of `nets`: one alone, many in a loop, many chains, compiled anew.

`step`: ours over plain SGD on the same network and batch, and what each part costs. Contenders:
`sgd`, optax's with momentum 0.9; `floor`, the same and a `jax.random.normal` for each weight;
`strict_floor`, the same and those normals as we draw them, which is faster; `ours`, SGHMC with
noise, the latents adapted and 90 % of the weights pruned by magnitude at every step; `no_noise`,
`no_latents`, `no_pruning`, ours without that part; `bare`, without all of them. The state is used
up by each step, as in a training loop.

`loop`: the same steps dispatched one by one, by `aeb.sample`, and in a plain `lax.scan`. The data
lie on the device. `dispatched` and `scan` take minibatches by a slice, in order; `aeb.sample` also
shuffles, and its time includes what a call of it does once.

`chains`: many chains by vmap on a small network, seconds a step of all of them, over those of one.
It is `aeb.chains` in a compiled loop, with noise, adaptation and pruning; a contender is named
after its number of chains. All chains see the same minibatch.

`compile`: what compiling a step takes, how often it is traced, and the memory that it needs.
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

import aeb
from aeb.dynamics.noise import standard_normal_like
from benchmarks.harness.ranges import Count
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Contender, Section, compiled, repeating, stepping, turning
from benchmarks.speed.nets import Net, state_bytes

CALLS = 5
"""Calls in which the traces of a step are counted."""


@dataclasses.dataclass(frozen=True)
class Step(Section):
    """One training step."""

    each = (("nets", "net"),)

    nets: tuple[Net, ...] = ("mnist_cnn", "resnet20", "mlp10m")  # networks, a row each
    batch_size: Count = 100  # images a step
    parts: bool = True  # whether to leave out each part of ours in turn

    def measure(self, clock: Clock, net: str) -> dict[str, Any]:
        workload, key = nets.make_workload(net, self.batch_size), jax.random.key(1)
        steps = {
            "sgd": nets.sgd(workload),
            "floor": nets.sgd(workload, draw=nets.normals_like),
            "strict_floor": nets.sgd(workload, draw=standard_normal_like),
        }
        for name, without in nets.variants(self.parts).items():
            steps[name] = nets.ours(workload, without)
        contenders = {
            name: stepping(compiled(step), start, workload.batch, key)
            for name, (step, start) in steps.items()
        }
        return {"weights": workload.size, "seconds": clock.race(contenders)}


@dataclasses.dataclass(frozen=True)
class Loop(Section):
    """Ways to run many steps."""

    each = (("nets", "net"), ("steps", "steps"))

    nets: tuple[Net, ...] = ("mlp", "mnist_cnn", "resnet20")  # networks, a row each
    steps: tuple[Count, ...] = (300, 32, 6)  # steps in one timing, for each network
    batch_size: Count = 100  # images a step
    num_batches: Count = 10  # minibatches that the data hold

    def measure(self, clock: Clock, net: str, steps: int) -> dict[str, Any]:
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
            "dispatched": stepping(compiled(advance), start, data, key, times=steps),
            "sample": nets.sampling(workload, data, key, steps=steps, batch_size=size),
            "scan": stepping(compiled(scan), start, data, key),
        }
        return {"weights": workload.size, "seconds": clock.race(contenders, per=steps)}


@dataclasses.dataclass(frozen=True)
class Chains(Section):
    """Chains by vmap."""

    counts: tuple[Count, ...] = (1, 2, 4, 8, 16, 32)  # numbers of chains
    net: Net = "small_mlp"  # the network
    batch_size: Count = 100  # rows of a minibatch

    def measure(self, clock: Clock) -> dict[str, Any]:
        workload, sampler = nets.make_workload(self.net, self.batch_size), nets.algorithm()
        many, start = aeb.chains(workload.kernel(sampler)), workload.start(sampler)

        def racing(count: int) -> Contender:
            def step(states: Any, batch: Any, key: jax.Array) -> Any:
                keys = jax.random.split(jax.random.fold_in(key, states.step[0]), count)
                return many(states, batch, keys)

            starts = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), start)
            return turning(step, starts, workload.batch, jax.random.key(1))

        contenders = {str(count): racing(count) for count in dict.fromkeys(self.counts)}
        return {"weights": workload.size, "seconds": clock.race(contenders)}


@dataclasses.dataclass(frozen=True)
class Compiling(Section):
    """Compiling a step."""

    each = (("nets", "net"),)

    nets: tuple[Net, ...] = ("mnist_cnn", "resnet20", "mlp10m")  # networks, a row each
    batch_size: Count = 100  # images a step

    def measure(self, clock: Clock, net: str) -> dict[str, Any]:
        workload = nets.make_workload(net, self.batch_size)
        weights = state_bytes(workload.params)

        def racing(step: Callable[..., Any], arguments: Any) -> Contender:
            # JAX knows a function by its identity, and compiles one that it has not seen.
            return repeating(lambda: compiled(functools.partial(step)).lower(*arguments).compile())

        contenders, metrics = {}, {}
        for name, (step, state) in (("ours", nets.ours(workload)), ("sgd", nets.sgd(workload))):
            arguments = (state, workload.batch, jax.random.key(1))
            memory, traces = examine(step, arguments)
            contenders[name] = racing(step, arguments)
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

    program = compiled(counted)
    memory = memory_of(program.lower(*arguments).compile())
    stepping(program, *arguments)(CALLS)
    return memory, traced
