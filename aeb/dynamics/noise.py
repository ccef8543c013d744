# SPDX-License-Identifier: Apache-2.0
"""What the samplers share: the normal draws and the precision of the arithmetic."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aeb.types import ArrayTree, PRNGKey

__all__ = ["standard_normal_like", "working_dtype"]


def working_dtype(*leaves: jax.Array) -> jnp.dtype:
    """Tell the type to compute in: the widest among the leaves, but never below float32."""
    double = any(leaf.dtype == jnp.float64 for leaf in leaves)
    return jnp.dtype(jnp.float64 if double else jnp.float32)


def standard_normal_like(key: PRNGKey, tree: ArrayTree) -> ArrayTree:
    """Draw independent standard normals in the shapes of a tree, one key a leaf.

    Args:
        key: consumed.
        tree: a tree of floating-point arrays.

    Returns:
        A tree like `tree`, each leaf in its working type.
    """
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    draws = [
        jax.random.normal(leaf_key, leaf.shape, working_dtype(leaf))
        for leaf_key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, draws)
