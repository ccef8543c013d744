# SPDX-License-Identifier: Apache-2.0
"""The precision of the arithmetic: that of the weights, but never below float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

__all__ = ["working_dtype"]


def working_dtype(*leaves: jax.Array) -> jnp.dtype:
    """Return the type to compute in: the widest among the leaves, but never below float32."""
    double = any(leaf.dtype == jnp.float64 for leaf in leaves)
    return jnp.dtype(jnp.float64 if double else jnp.float32)
