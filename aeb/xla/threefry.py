# SPDX-License-Identifier: Apache-2.0
"""Draw the normals of JAX's default generator, in a form that a compiler can fuse.

`jax.random.normal` under a threefry key hashes the place of each number (Salmon, Moraes, Dror and
Shaw, SC 2011), and applies the inverse of the normal distribution to the bits. On a CPU, XLA runs
the hash as a loop of whole passes over memory, which takes longer than the rest of a sampler. Here
the same rounds are written out. The bits are the same. The normals are too, except that XLA may
round their last digit differently when it fuses operations. Each number depends only on its place,
so a device can compute its part of a draw without the rest.

Gain: half the time of as many normals by `jax.random.normal`, or less, in a sampler of 1e7 weights
(rows of `benchmarks/results/speed.jsonl`). For jaxlib 0.10 to 0.12 on a CPU; the bits are the same
everywhere, so it is used everywhere.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb.types import PRNGKey

__all__ = ["LARGEST_DRAW", "fold_in", "is_threefry", "normal_at", "normals_at", "split"]

LARGEST_DRAW = 2**32
"""The most numbers in one draw. Beyond it, a place would take two words."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_ONE = np.float32(1).view(np.uint32)
_LEAST = np.nextafter(np.float32(-1), np.float32(0))


def is_threefry(key: PRNGKey) -> bool:
    """Return whether draws under a key are those that `normal_at` knows."""
    # JAX sets the attributes of its configuration when it runs, so mypy knows none of them.
    partitionable = bool(jax.config.jax_threefry_partitionable)  # type: ignore[attr-defined]
    return partitionable and str(jax.random.key_impl(key)) == "threefry2x32"


def split(key: PRNGKey, num: int) -> jax.Array:
    """Split a key as `jax.random.split` does; a key of threefry by code that compilers can fuse.

    Args:
        key: consumed.
        num: how many keys to make.

    Returns:
        key[num].

    Example:
        >>> key = jax.random.key(0)
        >>> bool((split(key, 3) == jax.random.split(key, 3)).all())
        True
    """
    keys = jax.random.split(key, num)
    if not is_threefry(key):
        return keys
    # The compiler drops what was made above. JAX's check for keys used twice still sees it.
    words = _hash(jax.random.key_data(key), jax.lax.iota(jnp.uint32, num))
    return jax.random.wrap_key_data(jnp.stack(words, axis=-1), impl=jax.random.key_impl(key))


def fold_in(key: PRNGKey, data: Any) -> PRNGKey:
    """Fold a number into a key as `jax.random.fold_in` does, by code that compilers can fuse.

    Args:
        key: consumed.
        data: a whole number of at most 32 bits, such as the number of a step.

    Returns:
        The new key.

    Example:
        >>> key = jax.random.key(0)
        >>> bool(fold_in(key, 3) == jax.random.fold_in(key, 3))
        True
    """
    folded = jax.random.fold_in(key, data)
    if not is_threefry(key):
        return folded
    words = _hash(jax.random.key_data(key), jnp.asarray(data).astype(jnp.uint32))
    return jax.random.wrap_key_data(jnp.stack(words), impl=jax.random.key_impl(key))


def normal_at(words: jax.Array, start: jax.Array | int, shape: tuple[int, ...]) -> jax.Array:
    """Draw a part of `jax.random.normal(key, (n,), jnp.float32)`.

    Args:
        words: u32[2], the data of a threefry key.
        start: the place of the first number in the whole draw, in [0, `LARGEST_DRAW`); a u32[]
            or a plain number.
        shape: the shape of the part, which is filled row by row.

    Returns:
        f32[shape], the numbers of the whole draw at the places from `start` on.

    Example:
        >>> key = jax.random.key(0)
        >>> part = normal_at(jax.random.key_data(key), 2, (2, 2))
        >>> bool((part.ravel() == jax.random.normal(key, (6,))[2:]).all())
        True
    """
    return _normal_at(words, jnp.asarray(start, jnp.uint32), shape)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def _normal_at(words: jax.Array, start: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return _normal(words, _places(start, shape))


@functools.partial(jax.jit, static_argnums=1, inline=True)
def normals_at(words: jax.Array, spans: tuple[tuple[int, int], ...]) -> jax.Array:
    """Draw several parts of `jax.random.normal(key, (n,), jnp.float32)`, one after another.

    XLA fuses a draw into each operation that reads it. If many leaves are cut from one draw, each
    of them gets a copy of the program, and compiling takes that many times as long. A loop is not
    fused. So the numbers are drawn here in a loop over two halves.

    Args:
        words: u32[2], the data of a threefry key.
        spans: start and length of each part, as places in the whole draw.

    Returns:
        f32[sum of the lengths].

    Example:
        >>> key = jax.random.key(0)
        >>> parts = normals_at(jax.random.key_data(key), ((0, 2), (5, 1)))
        >>> bool((parts == jax.random.normal(key, (6,))[jnp.array([0, 1, 5])]).all())
        True
    """
    places = jnp.concatenate([_places(start, (length,)) for start, length in spans])
    size = places.size
    halves = jnp.pad(places, (0, size % 2)).reshape(2, -(-size // 2))
    return jax.lax.map(lambda half: _normal(words, half), halves).reshape(-1)[:size]


def _normal(words: jax.Array, places: jax.Array) -> jax.Array:
    """Make the normals at the given places of a draw."""
    word, other = _hash(words, places)
    # 23 random bits as the fraction of a number in [1, 2), stretched to (-1, 1).
    fraction = jax.lax.bitcast_convert_type(((word ^ other) >> np.uint32(9)) | _ONE, jnp.float32)
    uniform = (fraction - np.float32(1)) * (np.float32(1) - _LEAST) + _LEAST
    return np.float32(math.sqrt(2)) * jax.lax.erf_inv(jnp.maximum(_LEAST, uniform))


def _places(start: jax.Array | int, shape: tuple[int, ...]) -> jax.Array:
    """Number the places of a part, in row-major order; u32[shape]."""
    places = jnp.full(shape, jnp.asarray(start, jnp.uint32))
    for axis in range(len(shape)):
        stride = np.uint32(math.prod(shape[axis + 1 :]))
        places = places + stride * jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    return places


def _hash(key: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute Threefry-2x32 in 20 rounds, of the counter (0, count)."""
    words = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = jnp.broadcast_to(words[0], count.shape), count + words[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(distance)) | (y >> np.uint32(32 - distance)))
        x = x + words[(group + 1) % 3]
        y = y + words[(group + 2) % 3] + np.uint32(group + 1)
    return x, y
