# SPDX-License-Identifier: Apache-2.0
"""The sampler alone, its gradient given, over the least that it has to do.

`ours` is `algorithm.transition` with all parts. `pass` reads and writes each array of the state
once and reads the gradient once, in one program: the bytes that no sampler with this state can
spare. `floor` draws as many normals besides, by `jax.random.normal`. The others leave a part of
ours out, as in `step`.
"""

import dataclasses
import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp

import aeb
from aeb.dynamics.noise import standard_normal_like
from benchmarks.harness.ranges import whole
from benchmarks.speed.clock import Clock, Race, stepping
from benchmarks.speed.nets import NUM_DATA, Draw, algorithm, normals_like, variants

__all__ = ["Sampler", "floor", "make_tree", "state_bytes"]

SHARES = (0.5, 0.3, 0.15, 0.05)
"""How the weights are parted into leaves, as in a network with one large layer."""


@dataclasses.dataclass(frozen=True)
class Sampler:
    """The sampler alone."""

    # Weights, a row each.
    sizes: tuple[Annotated[int, whole(100)], ...] = (100_000, 1_000_000, 10_000_000, 100_000_000)
    # Weights up to which each part of ours is left out in turn: every contender keeps a state.
    parts_up_to: Annotated[int, whole(0)] = 10_000_000

    def races(self) -> list[Race]:
        return [
            Race(
                f"sampler at {size:,} weights",
                {"section": "sampler", "size": size, "parts": size <= self.parts_up_to},
                functools.partial(_run, size, size <= self.parts_up_to),
            )
            for size in self.sizes
        ]


def make_tree(size: int) -> dict[str, Any]:
    """Draw parameters of a given size in a few leaves, all of them weights."""
    sizes = [round(share * size) for share in SHARES[1:]]
    flat = 0.1 * jax.random.normal(jax.random.key(0), (size,), jnp.float32)
    leaves = {}
    for number, count in enumerate([size - sum(sizes), *sizes]):
        leaves[f"layer{number}"] = {"kernel": flat[:count]}
        flat = flat[count:]
    return leaves


def floor(state: Any, grad: Any, key: jax.Array, *, draw: Draw | None) -> Any:
    """Read and write each array of a state once, and read the gradient once.

    Args:
        state: a NamedTuple with `step`, and `momentum` shaped as the gradient.
        grad: f32, a tree.
        key: of the run.
        draw: draws a normal for each weight as well; None draws nothing.

    Returns:
        A state like the one given.
    """

    def touched(leaf: jax.Array) -> jax.Array:
        return leaf + 1 if jnp.issubdtype(leaf.dtype, jnp.integer) else leaf * 0.999

    kick = grad
    if draw is not None:
        normals = draw(jax.random.fold_in(key, state.step), grad)
        kick = jax.tree.map(jnp.add, grad, normals)
    new = jax.tree.map(touched, state._replace(momentum=()))
    momentum = jax.tree.map(lambda r, g: 0.9 * r + 1e-6 * g, state.momentum, kick)
    return new._replace(momentum=momentum)


def state_bytes(state: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def _run(size: int, parts: bool, clock: Clock) -> dict[str, Any]:
    params = make_tree(size)
    grad, key = jax.tree.map(jnp.sin, params), jax.random.key(1)

    def transition(sampler: aeb.Algorithm, state: Any, grad: Any, key: jax.Array) -> Any:
        step_key = jax.random.fold_in(key, state.step)
        return sampler.transition(state, grad, step_key, num_data=NUM_DATA)

    start = algorithm().init(params)
    steps = {
        "pass": (functools.partial(floor, draw=None), start),
        "floor": (functools.partial(floor, draw=normals_like), start),
        "strict_floor": (functools.partial(floor, draw=standard_normal_like), start),
    }
    for name, without in variants(parts).items():
        sampler = algorithm(without)
        steps[name] = (functools.partial(transition, sampler), sampler.init(params))
    contenders = {
        name: stepping(jax.jit(step, donate_argnums=0), state, grad, key)
        for name, (step, state) in steps.items()
    }
    touched = 2 * state_bytes(start) + state_bytes(grad)
    return {"weights": size, "bytes": touched, "seconds": clock.race(contenders)}
