# SPDX-License-Identifier: Apache-2.0
"""Prune by the prior alone: there is no target, and the data choose the sparsity.

A weight is zero while its averaged inclusion probability rho is below a threshold. With a threshold
of 0.5 this is the median probability model (Barbieri and Berger, Annals of Statistics 32, 2004).
"""

from __future__ import annotations

from typing import Any

import jax

from aeb import guards
from aeb.sparsity.inclusion import check_has_rho
from aeb.sparsity.rule import Masks, pruning_rule
from aeb.types import ArrayTree, Sparsifier

__all__ = ["learned"]


def learned(threshold: float = 0.5, *, begin: int = 0, regrow: bool = True) -> Sparsifier:
    """Set the weights to zero whose inclusion probability is below a threshold.

    Args:
        threshold: in (0, 1); a weight at exactly the threshold stays.
        begin: the number of steps before the first weight is pruned. A weight that is zero looks
            like spike, so let rho settle first: the gains up to here should sum to several units.
        regrow: whether a pruned weight may return.

    Returns:
        A `Sparsifier`. The prior decides how many zeros it leaves.

    Raises:
        ValueError: an argument is out of its range, or, at init, the prior has no rho.

    Example:
        >>> import jax.numpy as jnp
        >>> params, rho = jnp.array([3.0, -1.0]), {"": jnp.array([0.9, 0.2])}
        >>> learned().apply(params, (), rho, (), 0, lambda path, leaf: True)[0]
        Array([3., 0.], dtype=float32)
    """
    guards.within("threshold", threshold, "(0, 1)")
    guards.at_least("begin", begin, 0)

    def choose(
        params: ArrayTree, sparse: dict[str, jax.Array], rho: Any, mask: Masks, count: Any
    ) -> Masks:
        return {path: (rho[path] < threshold) & (count >= begin) for path in sparse}

    def check(params: ArrayTree, rho: Any, sparse: dict[str, jax.Array]) -> None:
        check_has_rho(rho)

    return pruning_rule(choose, regrow=regrow, check=check)
