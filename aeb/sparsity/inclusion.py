# SPDX-License-Identifier: Apache-2.0
"""Prune by inclusion probability: the weights that the prior takes for spike go first."""

from __future__ import annotations

from typing import Any

import jax

from aeb.sparsity.rule import ramped_rule
from aeb.types import ScalarOrSchedule, Sparsifier

__all__ = ["check_has_rho", "inclusion"]


def inclusion(
    ramp: ScalarOrSchedule, scope: str = "leaf", of: str = "selected", regrow: bool = True
) -> Sparsifier:
    """Set the weights with the lowest inclusion probability rho to zero.

    Weights with equal rho are ranked by magnitude. There may be many, with rho exactly 1.

    Args:
        ramp: fraction of zeros in [0, 1), or a schedule such as `aeb.sparsity_ramp`.
        scope: "leaf", "global" or "relative", as in `aeb.magnitude`.
        of: what the fraction is a fraction of: the "selected" leaves, or "all" parameters.
        regrow: whether a pruned weight may return.

    Returns:
        A `Sparsifier` that leaves exactly round(s * size) zeros.

    Raises:
        ValueError: an argument is out of its range, or, at init, the prior has no rho or the
            selected leaves are too few to reach the target.

    Example:
        >>> import jax.numpy as jnp
        >>> params, rho = jnp.array([3.0, -1.0]), {"": jnp.array([0.2, 0.9])}
        >>> inclusion(0.5).apply(params, (), rho, (), 0, lambda path, leaf: True)[0]
        Array([ 0., -1.], dtype=float32)
    """

    def rank(leaves: list[jax.Array], paths: list[str], rho: Any) -> list[list[jax.Array]]:
        return [[rho[path] for path in paths], leaves]

    return ramped_rule(rank, ramp, scope=scope, of=of, regrow=regrow, check=check_has_rho)


def check_has_rho(rho: Any) -> None:
    """Raise a ValueError if the prior has no inclusion probabilities."""
    if rho is None:
        raise ValueError(
            "sparsify: this rule reads inclusion probabilities, and the prior declares none; use "
            "aeb.spike_slab, or prune by aeb.magnitude"
        )
