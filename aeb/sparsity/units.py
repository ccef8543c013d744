# SPDX-License-Identifier: Apache-2.0
"""Prune by unit: whole output features go, so that a smaller dense layer is left.

A unit is one index of the last axis of a leaf, an output feature in Flax. It is ranked by the root
mean square of its weights, so that units of leaves with another fan-in compare.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from aeb.precision import working_dtype
from aeb.sparsity.rule import ramped_rule
from aeb.types import ScalarOrSchedule, Sparsifier
from aeb.xla.threshold import order_bits

__all__ = ["units"]


def units(
    ramp: ScalarOrSchedule, scope: str = "leaf", of: str = "selected", regrow: bool = True
) -> Sparsifier:
    """Set the output units of smallest weight to zero, whole.

    Args:
        ramp: fraction of units at zero in [0, 1), or a schedule such as `aeb.sparsity_ramp`.
            Within a leaf it is also the fraction of weights.
        scope: "leaf" prunes every selected leaf alike, "global" by one threshold over all of them,
            "relative" by one threshold for units relative to the norm of their leaf, which
            empties none.
        of: what the fraction counts: the "selected" leaves, or "all" parameters.
        regrow: whether a pruned unit may return.

    Returns:
        A `Sparsifier` that leaves exactly round(s * units) units at zero, ties by index. Biases
        are left to the user's `where`.

    Raises:
        ValueError: an argument is out of its range, or, at init, the selected leaves are too few
            to reach the target.

    Example:
        >>> kernel = jnp.array([[3.0, 0.1], [2.0, 0.2]])
        >>> units(0.5).apply(kernel, (), None, (), 0, lambda path, leaf: True)[0]
        Array([[3., 0.],
               [2., 0.]], dtype=float32)
    """

    def rank(leaves: list[jax.Array], paths: list[str], rho: Any) -> list[list[jax.Array]]:
        return [order_bits([_unit_scale(leaf) for leaf in leaves])]

    return ramped_rule(rank, ramp, scope=scope, of=of, regrow=regrow)


def _unit_scale(leaf: jax.Array) -> jax.Array:
    """Compute the root mean square over all axes but the last."""
    square = jnp.square(leaf.astype(working_dtype(leaf)))
    return jnp.sqrt(jnp.mean(square, axis=tuple(range(max(leaf.ndim - 1, 0)))))
