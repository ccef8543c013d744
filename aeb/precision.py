# SPDX-License-Identifier: Apache-2.0
"""The precision of the arithmetic: that of the weights, but never below float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aeb.types import ArrayTree

__all__ = ["as_weights", "working_dtype"]


def working_dtype(*leaves: jax.Array) -> jnp.dtype:
    """Return the type to compute in: the widest among the leaves, but never below float32."""
    double = any(leaf.dtype == jnp.float64 for leaf in leaves)
    return jnp.dtype(jnp.float64 if double else jnp.float32)


def as_weights(params: ArrayTree) -> ArrayTree:
    """Turn each Python float of a tree into an array of JAX's floating type; leave all else.

    Args:
        params: any pytree.

    Returns:
        A tree of the same structure.

    Example:
        >>> as_weights({"slope": 0.5})
        {'slope': Array(0.5, dtype=float32)}
    """
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, float) if isinstance(leaf, float) else leaf, params
    )
