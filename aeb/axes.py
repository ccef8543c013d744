# SPDX-License-Identifier: Apache-2.0
"""Mesh axes of the type Explicit, where the sharding of an array is part of its type.

There each reshape and each sum has to be told how its result lies, and the searches and sums of a
sampler are many. So a step of the sampler runs under `jax.sharding.auto_axes`, in which the
compiler places what is inside, and its results lie as the state did. The loss stays outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["automatic", "split_leaf"]


def split_leaf(tree: Any) -> Any:
    """Return how the first leaf lies that is split over an Explicit axis.

    Args:
        tree: any pytree of arrays.

    Returns:
        A `PartitionSpec`; None where no leaf is split so.

    Example:
        >>> import jax.numpy as jnp
        >>> split_leaf({"kernel": jnp.ones(2)}) is None
        True
    """
    for leaf in jax.tree.leaves(tree):
        spec = getattr(getattr(jax.typeof(leaf), "sharding", None), "spec", ())
        if any(axis is not None for axis in spec):
            return spec
    return None


def automatic(function: Callable[..., Any], like: Any) -> Callable[..., Any]:
    """Let the compiler place what a function computes.

    Args:
        function: of arrays alone; it may not close over any.
        like: a tree like its result, which will lie as this does.

    Returns:
        A function of the same arguments.
    """
    shardings = jax.tree.map(lambda leaf: jax.typeof(leaf).sharding, like)
    placed: Callable[..., Any] = jax.sharding.auto_axes(function, out_sharding=shardings)
    return placed
