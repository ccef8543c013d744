# SPDX-License-Identifier: Apache-2.0
"""Choose the k smallest of many numbers, exactly and without sorting them.

A non-negative float and its bit pattern read as an unsigned integer have the same order, so the
k-th smallest is found bit by bit: from the top, a bit is set where fewer than k numbers lie below
the value that it would give. Each bit costs one pass that compares and counts. Numbers equal to the
k-th are told apart by the next criterion, and in the end by their index.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from aeb.precision import working_dtype

__all__ = ["order_bits", "smallest"]

Keys = list[jax.Array]


def order_bits(values: Sequence[jax.Array]) -> Keys:
    """Map non-negative floats to unsigned integers of the same order.

    Args:
        values: arrays of one or several floating types; the widest decides. NaN ranks highest.

    Returns:
        An unsigned array for each, of 32 bits, or 64 where a value is double.
    """
    widest = working_dtype(*values)
    unsigned = jnp.uint64 if widest == jnp.float64 else jnp.uint32
    return [
        jax.lax.bitcast_convert_type(jnp.abs(value.astype(widest)), unsigned) for value in values
    ]


def smallest(criteria: Sequence[Keys], count: jax.Array | int) -> Keys:
    """Mark the `count` smallest entries over a list of arrays taken together.

    Args:
        criteria: lists of unsigned arrays, one array a leaf, all lists of the same shapes. The
            first criterion ranks, each later one breaks the ties that are left.
        count: i32[], how many to mark, in [0, total size].

    Returns:
        bool arrays, one a leaf, with exactly `count` True; the last ties go by index, the lower
        first, leaf by leaf.

    Example:
        >>> smallest([order_bits([jnp.array([3.0, 1.0, 1.0, 0.5])])], 2)
        [Array([False,  True, False,  True], dtype=bool)]
    """
    shapes = [keys.shape for keys in criteria[0]]
    chosen = [jnp.zeros(shape, bool) for shape in shapes]
    tied = [jnp.ones(shape, bool) for shape in shapes]
    missing = jnp.asarray(count, jnp.int32)
    for keys in criteria:
        level = _kth_smallest(keys, tied, missing)
        below = [t & (key < level) for key, t in zip(keys, tied, strict=True)]
        tied = [t & (key == level) for key, t in zip(keys, tied, strict=True)]
        chosen = [c | b for c, b in zip(chosen, below, strict=True)]
        missing = missing - _total(below)

    def take_first() -> Keys:
        indices = _indices(shapes)
        last = _kth_smallest(indices, tied, missing)
        return [t & (index <= last) & (missing > 0) for index, t in zip(indices, tied, strict=True)]

    # As a rule the ties fit exactly, and the search by index is skipped.
    rest = jax.lax.cond(_total(tied) == missing, lambda: tied, take_first)
    return [c | r for c, r in zip(chosen, rest, strict=True)]


def _kth_smallest(keys: Keys, eligible: Keys, k: jax.Array) -> jax.Array:
    """The largest value that fewer than k eligible keys lie below; 0 where k = 0."""
    dtype = keys[0].dtype
    bits = 8 * dtype.itemsize

    def set_bit(i: jax.Array, level: jax.Array) -> jax.Array:
        trial = level | (jnp.ones((), dtype) << (bits - 1 - i).astype(dtype))
        below = _total([e & (key < trial) for key, e in zip(keys, eligible, strict=True)])
        return jnp.where(below < k, trial, level)

    return jax.lax.fori_loop(0, bits, set_bit, jnp.zeros((), dtype))


def _indices(shapes: Sequence[tuple[int, ...]]) -> Keys:
    """Running indices over all leaves, each in the shape of its leaf."""
    indices, start = [], 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        indices.append((start + jnp.arange(size, dtype=jnp.uint32)).reshape(shape))
        start += size
    return indices


def _total(masks: Keys) -> jax.Array:
    """How many are True, over all leaves."""
    return sum((jnp.sum(mask, dtype=jnp.int32) for mask in masks), jnp.zeros((), jnp.int32))
