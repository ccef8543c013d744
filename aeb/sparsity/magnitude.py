# SPDX-License-Identifier: Apache-2.0
"""Prune by magnitude: the smallest |beta| go (Deng et al., NeurIPS 2019, Algorithm 1).

After each step, the round(s_k * size) smallest weights are set to zero. As in the paper, a pruned
weight keeps its gradient and its momentum, and returns once it outgrows the threshold.
"""

from __future__ import annotations

from typing import Any

import jax

from aeb import guards
from aeb.precision import as_weights
from aeb.sparsity.rule import ramped_rule
from aeb.tree import as_where
from aeb.types import ArrayTree, ScalarOrSchedule, Sparsifier, Where

__all__ = ["magnitude", "prune"]


def magnitude(
    ramp: ScalarOrSchedule, scope: str = "leaf", of: str = "selected", regrow: bool = True
) -> Sparsifier:
    """Set the weights with the smallest magnitude to zero.

    Args:
        ramp: fraction of zeros in [0, 1), or a schedule such as `aeb.sparsity_ramp`.
        scope: "leaf" prunes the same share of each selected leaf. "global" uses one threshold for
            all of them. "relative" uses one threshold for weights divided by the norm of their
            leaf, and never empties a leaf.
        of: what the fraction is a fraction of: the "selected" leaves, or "all" parameters, as in
            the paper.
        regrow: whether a pruned weight may return; False freezes the mask and clears the momentum
            under it. Use False if the network has BatchNorm and you prune more than nine tenths:
            otherwise an output channel that has lost all its weights comes back with large ones.

    Returns:
        A `Sparsifier` that leaves exactly round(s * size) zeros and breaks ties by index. A
        schedule returns s as a float32, so with more than 2^24 weights rounding may change the
        product.

    Raises:
        ValueError: an argument is out of its range, or, at init, the selected leaves are too few
            to reach the target over all parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> rule = magnitude(0.5)
        >>> rule.apply(jnp.array([3.0, -1.0, 2.0, 0.5]), (), None, (), 0, lambda path, leaf: True)
        (Array([3., 0., 2., 0.], dtype=float32), (), ())
    """

    def rank(leaves: list[jax.Array], paths: list[str], rho: Any) -> list[list[jax.Array]]:
        return [leaves]

    return ramped_rule(rank, ramp, scope=scope, of=of, regrow=regrow)


def prune(
    params: ArrayTree, sparsity: float, *, where: Where = None, scope: str = "global"
) -> ArrayTree:
    """Prune trained parameters by magnitude, once.

    Args:
        params: a tree of floating-point arrays. It may be a linen variable dict or an nnx state
            that also holds statistics. Those stay as they are, and
            `aeb.sparsity_report(params).left` lists them.
        sparsity: the fraction of zeros over the chosen leaves, in [0, 1).
        where: the leaves to prune: a regular expression to search for in the path,
            `(path, leaf) -> bool`, or None for every leaf except those named bias or scale.
        scope: "global" for one threshold over all chosen leaves, "relative" for one threshold
            relative to the norm of each leaf, "leaf" for the same fraction of each leaf.

    Returns:
        The tree with round(sparsity * size) of the chosen weights at exactly zero.

    Raises:
        ValueError: an argument is out of its range, or `where` matches no leaf.
        TypeError: a leaf is not a floating-point array.

    Example:
        >>> import jax.numpy as jnp
        >>> prune({"kernel": jnp.array([3.0, -1.0, 2.0, 0.5]), "bias": jnp.zeros(1)}, 0.5)["kernel"]
        Array([3., 0., 2., 0.], dtype=float32)
    """
    guards.share("sparsity", sparsity)
    params = as_weights(params)
    guards.check_params(params, alone=False)
    guards.check_axes(params)
    guards.check_matches(params, where)
    pruned, _, _ = magnitude(sparsity, scope=scope).apply(params, (), None, (), 0, as_where(where))
    return pruned
