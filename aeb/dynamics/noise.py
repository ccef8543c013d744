# SPDX-License-Identifier: Apache-2.0
"""Draw a standard normal for each weight, for all samplers.

All weights of a dtype share one draw. Count them over the leaves in order: weight i takes number i
of the draw. So the noise of a chain does not depend on how its state is spread over devices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from aeb.precision import working_dtype
from aeb.schedules import is_zero
from aeb.types import ArrayTree, PRNGKey
from aeb.xla.parts import cut, spans, unseen
from aeb.xla.threefry import LARGEST_DRAW, is_threefry, normal_at, normals_at, split

__all__ = ["noise_like", "standard_normal_like"]

LARGE = 2**16
"""The least size of a leaf that gets a draw of its own on a single device."""

LARGE_ON_SEVERAL = 2**14
"""The same on several. A leaf of this size may be spread over them, and then each device draws its
own part, where a part of a common draw would have to be sent."""


def noise_like(key: PRNGKey, tree: ArrayTree, temperature: Any) -> ArrayTree:
    """Draw the noise of a step. At a temperature of exactly 0, return zeros and draw nothing.

    Args:
        key: a typed key, consumed.
        tree: a tree of floating-point arrays.
        temperature: T of the step; a plain number 0 saves the draw.

    Returns:
        Standard normals in a tree like `tree`, in float32, or float64 where the leaf is float64.

    Example:
        >>> weights = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
        >>> noise_like(jax.random.key(0), weights, temperature=1.0)["kernel"].shape
        (3, 2)
        >>> noise_like(jax.random.key(0), weights, temperature=0)["bias"].tolist()
        [0.0, 0.0]
    """
    if is_zero(temperature):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, working_dtype(leaf)), tree)
    return standard_normal_like(key, tree)


def standard_normal_like(key: PRNGKey, tree: ArrayTree) -> ArrayTree:
    """Draw independent standard normals in the shapes of a tree.

    The leaves of a dtype are cut, in order, from one `jax.random.normal`. With a threefry key, each
    large leaf computes its own part of that draw, with the same numbers. Then no array holds the
    whole draw, and a sharded leaf needs no communication. Small leaves are drawn together, because
    that compiles faster.

    Args:
        key: a typed key, consumed.
        tree: a tree of floating-point arrays.

    Returns:
        A tree like `tree`, in float32, or float64 where the leaf is float64.
    """
    leaves, structure = jax.tree.flatten(tree)
    draws: list[jax.Array] = [jnp.empty(0)] * len(leaves)
    keys = split(key, 2)
    for index, dtype in enumerate((jnp.float32, jnp.float64)):
        places = [i for i, leaf in enumerate(leaves) if working_dtype(leaf) == dtype]
        shapes = [leaves[i].shape for i in places]
        total = sum(map(math.prod, shapes))
        parts: Iterable[jax.Array]
        if dtype == jnp.float32 and total < LARGEST_DRAW and is_threefry(key):
            parts = _in_place(jax.random.key_data(keys[index]), shapes)
        else:
            parts = _cut(jax.random.normal(keys[index], (total,), dtype), shapes) if total else []
        for i, part in zip(places, parts, strict=True):
            draws[i] = part
    return jax.tree.unflatten(structure, draws)


def _in_place(words: jax.Array, shapes: Sequence[tuple[int, ...]]) -> Iterator[jax.Array]:
    """Compute the parts of one draw: each large part by itself, all small parts together."""
    sizes = [math.prod(shape) for shape in shapes]
    starts = list(itertools.accumulate(sizes, initial=0))
    large = LARGE if jax.device_count() == 1 else LARGE_ON_SEVERAL
    is_small = [size < large for size in sizes]
    if sum(is_small) < 2:
        is_small = [False] * len(sizes)
    small = [place for place, here in enumerate(is_small) if here]
    together: Iterator[jax.Array] = iter(())
    if small:
        parts = spans([(starts[place], sizes[place]) for place in small])
        together = iter(cut(normals_at(words, parts), [shapes[place] for place in small]))
    places = unseen(starts[:-1], words)
    for start, shape, here in zip(places, shapes, is_small, strict=True):
        yield next(together) if here else normal_at(words, start, shape)


def _cut(flat: jax.Array, shapes: Sequence[tuple[int, ...]]) -> Iterator[jax.Array]:
    """Cut a flat array into arrays of the given shapes. Their sizes add up to its length."""
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    for part, shape in zip(jnp.split(flat, ends[:-1]), shapes, strict=True):
        yield part.reshape(shape)
