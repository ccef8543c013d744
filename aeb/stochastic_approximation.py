# SPDX-License-Identifier: Apache-2.0
"""Stochastic approximation: latent <- latent + omega (target - latent).

With omega_k summing to infinity and its squares to a finite value, the latent tends to the fixed
point of the mean target (Robbins and Monro, 1951; Benveniste, Metivier and Priouret, 1990).
omega = 1 replaces the latent by the target, which is the EM step; omega = 0 leaves it as it is.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from aeb.types import ArrayTree

__all__ = ["approximate"]


def approximate(latent: ArrayTree, target: ArrayTree, omega: Any) -> ArrayTree:
    """Move a tree of latents a fraction of the way to its target.

    Args:
        latent: a tree of floating-point arrays.
        target: a tree of the same structure and shapes.
        omega: the gain, a scalar in [0, 1]; exactly `target` at 1 and `latent` at 0, as long as
            both are finite.

    Returns:
        (1 - omega) latent + omega target, in the dtypes of `latent`.

    Example:
        >>> approximate({"a": jnp.array(1.0)}, {"a": jnp.array(3.0)}, 0.5)
        {'a': Array(2., dtype=float32)}
    """

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
        gain = jnp.asarray(omega, old.dtype)
        return (1 - gain) * old + gain * new.astype(old.dtype)

    return jax.tree.map(move, latent, target)
