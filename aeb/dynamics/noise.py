# SPDX-License-Identifier: Apache-2.0
"""What the samplers share: the normal draws."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from aeb.precision import working_dtype
from aeb.schedules import is_zero
from aeb.types import ArrayTree, PRNGKey

__all__ = ["noise_like", "standard_normal_like"]


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

    All leaves are cut from one flat draw: a draw for each leaf runs no faster and takes XLA several
    times as long to compile.

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
        ends = list(itertools.accumulate(leaves[i].size for i in places))
        flat = jax.random.normal(own_key, (ends[-1],), dtype)
        for i, part in zip(places, jnp.split(flat, ends[:-1]), strict=True):
            draws[i] = part.reshape(leaves[i].shape)
    return jax.tree.unflatten(structure, draws)
