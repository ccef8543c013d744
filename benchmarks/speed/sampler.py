# SPDX-License-Identifier: Apache-2.0
"""The sampler without a network, and its pruning alone.

`sampler`: a transition, its gradient given, over the least that it has to do. `ours` is
`algorithm.transition` with all parts. `pass` reads and writes each array of the state once and
reads the gradient once, in one program: the bytes that no sampler with this state can spare.
`floor` draws as many normals besides, by `jax.random.normal`, and `strict_floor` as we draw them.
The others leave a part of ours out, as in `steps`.

`threshold`: pruning 90 % of the weights by magnitude, against thresholds found by a sort and by
top-k. All three return the pruned array. Exactness is checked on normal weights, where ties are
rare, and on weights of few distinct values: `zeros` counts, and `same` says whether all weights
below the threshold of the sort are zero and all above it are kept. The sort and top-k cannot tell
ties apart.
"""

import dataclasses
import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb.dynamics.noise import standard_normal_like
from benchmarks.harness.ranges import whole
from benchmarks.speed.clock import Clock, Section, repeating, stepping
from benchmarks.speed.nets import (
    NUM_DATA,
    Draw,
    algorithm,
    normals_like,
    state_bytes,
    variants,
)

SHARES = (0.5, 0.3, 0.15, 0.05)
"""How the weights are parted into leaves, as in a network with one large layer."""

SPARSITY = 0.9
"""Share of the weights that `threshold` prunes."""


@dataclasses.dataclass(frozen=True)
class Sampler(Section):
    """The sampler alone."""

    each = (("sizes", "size"), ("parts", "parts"))

    # Weights, a row each.
    sizes: tuple[Annotated[int, whole(100)], ...] = (100_000, 1_000_000, 10_000_000, 100_000_000)
    # Whether to leave out each part of ours in turn, for each size: every contender keeps a state.
    parts: tuple[bool, ...] = (True, True, True, False)

    def measure(self, clock: Clock, size: int, parts: bool) -> dict[str, Any]:
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


@dataclasses.dataclass(frozen=True)
class Threshold(Section):
    """Choosing what to prune."""

    each, more = (("sizes", "size"),), (("sparsity", SPARSITY),)

    # Weights, a row each.
    sizes: tuple[Annotated[int, whole(10)], ...] = (100_000, 1_000_000, 10_000_000)

    def measure(self, clock: Clock, size: int) -> dict[str, Any]:
        zeros = round(SPARSITY * size)
        weights = jax.random.normal(jax.random.key(0), (size,), jnp.float32)
        tied = jnp.round(weights * 4.0) / 4.0 + 0.125
        programs = {
            "ours": jax.jit(_ours),
            "sort": jax.jit(functools.partial(_sort, zeros)),
            "top_k": jax.jit(functools.partial(_top_k, zeros)),
        }
        contenders = {
            name: repeating(functools.partial(prune, weights)) for name, prune in programs.items()
        }
        return {
            "zeros": zeros,
            "exact": {
                kind: {name: _check(prune(x), x, zeros) for name, prune in programs.items()}
                for kind, x in (("normal", weights), ("tied", tied))
            },
            "seconds": clock.race(contenders),
        }


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


def _ours(weights: jax.Array) -> Any:
    rule = aeb.magnitude(SPARSITY, scope="global")
    return rule.apply(weights, (), None, (), 0, lambda path, leaf: True)[0]


def _sort(zeros: int, weights: jax.Array) -> jax.Array:
    threshold = jnp.sort(jnp.abs(weights))[zeros - 1]
    return jnp.where(jnp.abs(weights) <= threshold, 0.0, weights)


def _top_k(zeros: int, weights: jax.Array) -> jax.Array:
    kept, _ = jax.lax.top_k(jnp.abs(weights), weights.size - zeros)
    return jnp.where(jnp.abs(weights) < kept[-1], 0.0, weights)


def _check(pruned: Any, weights: Any, zeros: int) -> dict[str, Any]:
    """Count the zeros, and compare what is kept with the order of a sort."""
    pruned, size = np.asarray(pruned), np.abs(np.asarray(weights))
    level = np.partition(size, zeros - 1)[zeros - 1]
    same = not pruned[size < level].any() and bool((pruned[size > level] != 0).all())
    return {"zeros": int((pruned == 0).sum()), "same": same}
