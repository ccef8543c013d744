# SPDX-License-Identifier: Apache-2.0
"""Standard normals in the shapes of a tree, one for each weight and step.

Weight i of the tree, counted over its leaves in order, takes the i-th number of one flat draw. With
JAX's default keys (threefry, partitionable) that number is a function of the key and of i alone, so
a large leaf is drawn in its own shape, from counters that begin at its place: each device of a
sharded leaf makes its own part and nothing is sent. The bits drawn are those of the flat draw,
whatever the sharding.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp

from aeb.precision import working_dtype
from aeb.schedules import is_zero
from aeb.types import ArrayTree, PRNGKey

__all__ = ["noise_like", "standard_normal_like"]

LARGE = 2**20
"""Leaves of so many weights are drawn on their own; a program for each is slow to compile."""


def noise_like(key: PRNGKey, tree: ArrayTree, temperature: Any) -> ArrayTree:
    """Draw the normals of a step; none, but zeros, where the temperature is the plain number 0.

    Args:
        key: consumed.
        tree: a tree of floating-point arrays.
        temperature: that of the step.

    Returns:
        A tree like `tree`, each leaf in its working type.
    """
    if is_zero(temperature):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, working_dtype(leaf)), tree)
    return standard_normal_like(key, tree)


def standard_normal_like(key: PRNGKey, tree: ArrayTree) -> ArrayTree:
    """Draw independent standard normals in the shapes of a tree.

    Runs of leaves below `LARGE` are cut from one draw: a draw for each leaf runs no faster and
    takes XLA several times as long to compile.

    Args:
        key: consumed.
        tree: a tree of floating-point arrays.

    Returns:
        A tree like `tree`, each leaf in its working type.
    """
    leaves, structure = jax.tree.flatten(tree)
    draws: list[jax.Array] = [jnp.empty(0)] * len(leaves)
    single_key, double_key = jax.random.split(key)
    for dtype, own_key in ((jnp.float32, single_key), (jnp.float64, double_key)):
        places = [i for i, leaf in enumerate(leaves) if working_dtype(leaf) == dtype]
        if not places:
            continue
        parts = _normals(own_key, [leaves[i].shape for i in places], dtype)
        for i, part in zip(places, parts, strict=True):
            draws[i] = part
    return jax.tree.unflatten(structure, draws)


def _normals(key: PRNGKey, shapes: list[tuple[int, ...]], dtype: Any) -> list[jax.Array]:
    """Draw leaf after leaf from the numbers of one flat draw."""
    sizes = [math.prod(shape) for shape in shapes]
    if max(sizes) < LARGE or not _counts_from_anywhere(key):
        return _cut(jax.random.normal(key, (sum(sizes),), dtype), shapes)
    starts = dict(enumerate(itertools.accumulate(sizes, initial=0)))
    base = jax.random.key_data(key)
    parts: list[jax.Array] = []
    for large, run in itertools.groupby(range(len(sizes)), lambda i: sizes[i] >= LARGE):
        for own in [[i] for i in run] if large else [list(run)]:
            own_shapes = [shapes[i] for i in own]
            shape = own_shapes[0] if large else (sum(sizes[i] for i in own),)
            draw = jax.random.normal(_key_at(base, starts[own[0]]), shape, dtype)
            parts += [draw] if large else _cut(draw, own_shapes)
    return parts


def _cut(flat: jax.Array, shapes: list[tuple[int, ...]]) -> list[jax.Array]:
    """Cut a flat array into leaves."""
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    pieces = jnp.split(flat, ends[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def _counts_from_anywhere(key: PRNGKey) -> bool:
    """Whether number i of a draw depends on the key and i alone."""
    threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    return threefry and bool(jax.config.jax_threefry_partitionable)  # type: ignore[attr-defined]


def _key_at(base: jax.Array, start: int) -> PRNGKey:
    """Make a key whose draws are those of a threefry key from number `start` on."""
    high, low = divmod(start, 2**32)
    data = jnp.concatenate([base, jnp.array([high, low], jnp.uint32)])
    return jax.random.wrap_key_data(data, impl=_THREEFRY_FROM)


def _bits_from(data: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    """Make random bits as threefry does, its counters moved by the last two words of the key."""
    k0, k1, start_high, start_low = data
    # 64 bits in two words; a leaf itself has fewer than 2^32 weights.
    place = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        place = place + jnp.uint32(stride) * jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        stride *= shape[axis]
    low = place + start_low
    high = start_high + (low < place).astype(jnp.uint32)
    first, second = jax.extend.random.threefry2x32_p.bind(k0, k1, high, low)
    if bit_width != 64:
        return (first ^ second).astype(f"uint{bit_width}")
    return (first.astype(jnp.uint64) << jnp.uint64(32)) | second.astype(jnp.uint64)


def _no_more_keys(*_: Any) -> Any:
    raise NotImplementedError("such a key is drawn from once and not split")


_THREEFRY_FROM = jax.extend.random.define_prng_impl(
    key_shape=(4,),
    seed=_no_more_keys,
    split=_no_more_keys,
    random_bits=_bits_from,
    fold_in=_no_more_keys,
    name="threefry2x32_from",
    tag="fryfrom",
)
