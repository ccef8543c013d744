# SPDX-License-Identifier: Apache-2.0
"""Prune by unit: whole output features go, so that a smaller dense layer can be left.

A unit is one index of the last axis of a leaf, which is an output feature in Flax. Units are ranked
by the root mean square of their weights, so that leaves with different fan-in can be compared.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from aeb.precision import working_dtype
from aeb.sparsity.rule import ramped_rule
from aeb.types import ScalarOrSchedule, Sparsifier

__all__ = ["units"]


def units(
    ramp: ScalarOrSchedule, scope: str = "leaf", of: str = "selected", regrow: bool = True
) -> Sparsifier:
    """Set all weights of the smallest output units to zero.

    Args:
        ramp: fraction of units at zero in [0, 1), or a schedule such as `aeb.sparsity_ramp`.
            Within a leaf it is also the fraction of weights.
        scope: "leaf", "global" or "relative", as in `aeb.magnitude`.
        of: what the fraction is a fraction of: the "selected" leaves, or "all" parameters.
        regrow: whether a pruned unit may return.

    Returns:
        A `Sparsifier` that leaves exactly round(s * units) units at zero and breaks ties by index.
        It prunes biases only if the prior's `where` chooses them.

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
        return [[_unit_scale(leaf) for leaf in leaves]]

    return ramped_rule(rank, ramp, scope=scope, of=of, regrow=regrow)


def _unit_scale(leaf: jax.Array) -> jax.Array:
    """Compute the root mean square over all axes but the last."""
    square = jnp.square(leaf.astype(working_dtype(leaf)))
    return jnp.sqrt(jnp.mean(square, axis=tuple(range(max(leaf.ndim - 1, 0)))))
