# SPDX-License-Identifier: Apache-2.0
"""Support mesh axes of the type Explicit, where the sharding of an array is part of its type.

With such axes, each reshape and each sum must say how its result is sharded, and a sampler has many
of them. So a step of the sampler runs under `jax.sharding.auto_axes`: inside, the compiler chooses
the shardings, and the results are sharded like the state. The loss stays outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["automatic", "split_leaf"]


def split_leaf(tree: Any) -> Any:
    """Return the sharding of the first leaf that is split over an Explicit axis.

    Args:
        tree: any pytree of arrays.

    Returns:
        A `PartitionSpec`; None if no leaf is split over such an axis.

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
    """Let the compiler choose the shardings inside a function.

    Args:
        function: a function of arrays only. It may not close over arrays.
        like: a tree like its result. The result is sharded as this is.

    Returns:
        A function with the same arguments.
    """
    shardings = jax.tree.map(lambda leaf: jax.typeof(leaf).sharding, like)
    placed: Callable[..., Any] = jax.sharding.auto_axes(function, out_sharding=shardings)
    return placed
