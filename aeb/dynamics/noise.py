# SPDX-License-Identifier: Apache-2.0
"""What the samplers share: a standard normal for each weight and step.

Weight i of the tree, counted over its leaves in order, takes number i of one draw, so the noise of
a chain does not depend on how its state lies on devices.
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
from aeb.xla.threefry import LARGEST_DRAW, is_threefry, normal_at, normals_at, split

__all__ = ["noise_like", "standard_normal_like"]

LARGE = 2**14
"""Size of a leaf that is drawn by itself."""


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

    The leaves of a dtype, in their order, are cut from one `jax.random.normal`. Of a threefry draw
    each large leaf is made by itself, with the same numbers: so it needs no memory of its own, and
    a sharded leaf no communication. Small leaves share a draw, which compiles faster.

    Args:
        key: consumed.
        tree: a tree of floating-point arrays.

    Returns:
        A tree like `tree`, each leaf in its working type.
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
    """Draw the parts of one draw, each large one by itself and all small ones together."""
    sizes = [math.prod(shape) for shape in shapes]
    starts = list(itertools.accumulate(sizes, initial=0))
    is_small = [size < LARGE for size in sizes]
    if sum(is_small) < 2:
        is_small = [False] * len(sizes)
    small = [place for place, here in enumerate(is_small) if here]
    together: Iterator[jax.Array] = iter(())
    if small:
        spans = _spans([(starts[place], sizes[place]) for place in small])
        together = _cut(normals_at(words, spans), [shapes[place] for place in small])
    for start, shape, here in zip(starts, shapes, is_small, strict=False):
        yield next(together) if here else normal_at(words, start, shape)


def _spans(parts: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join parts, each a start and a length, where one begins at the end of another."""
    spans: list[tuple[int, int]] = []
    for start, length in parts:
        if spans and sum(spans[-1]) == start:
            start, length = spans[-1][0], spans.pop()[1] + length
        spans.append((start, length))
    return tuple(spans)


def _cut(flat: jax.Array, shapes: Sequence[tuple[int, ...]]) -> Iterator[jax.Array]:
    """Cut a flat array into arrays of the given shapes, which it fills."""
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    for part, shape in zip(jnp.split(flat, ends[:-1]), shapes, strict=True):
        yield part.reshape(shape)
