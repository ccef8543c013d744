# SPDX-License-Identifier: Apache-2.0
"""Prune by what a weight is worth to the loss: beta_j^2 F_j, F_j being its Fisher information.

At a minimum of the loss, setting beta_j to zero raises the loss by H_jj beta_j^2 / 2, to second
order, where H is the Hessian. Ranking by that is Optimal Brain Damage. Here the diagonal of the
empirical Fisher information takes the place of that of H. It is learned by stochastic approximation
with a constant gain, from the gradients that the sampler takes anyway:

    F_j <- decay F_j + (1 - decay) g_j^2

Here g is the gradient over a minibatch, so F_j is the information only up to a factor, and only
where the gradient over all data is small. Far from a minimum its square counts too.

A weight may have a small gradient by chance for a while, and F_j is then too small. So a share of
the average over the leaf is added, and the rank of a weight is

    beta_j^2 (F_j + damping mean_i F_i)

The scale of the gradient does not matter. With one threshold for all leaves, or one for each, the
scale of a leaf in front of a BatchNorm does not matter either: if such a leaf is multiplied by c,
its gradient is divided by c. With `scope="relative"` it does: there the weights, but not their
gradients, are divided by the norm of their leaf first.

References: LeCun, Denker and Solla, "Optimal Brain Damage", NIPS 1989; Theis, Korshunova, Tejani
and Huszar, "Faster gaze prediction with dense networks and Fisher pruning", arXiv 1801.05787.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.precision import working_dtype
from aeb.sparsity.rule import ramped_rule
from aeb.tree import select
from aeb.types import ArrayTree, ScalarOrSchedule, Sparsifier

__all__ = ["Ranked", "fisher"]


class Ranked(NamedTuple):
    """What the rule remembers."""

    mask: Any  # bool by path, True where a weight is kept; () if pruned weights may return
    information: dict[str, jax.Array]  # F by path, like the leaves, at least float32


def fisher(
    ramp: ScalarOrSchedule,
    scope: str = "leaf",
    of: str = "selected",
    regrow: bool = True,
    *,
    decay: float = 0.98,
    damping: float = 0.05,
) -> Sparsifier:
    """Set the weights to zero that are worth the least to the loss.

    It needs one more array like the selected leaves, in float32 at least.

    Args:
        ramp: fraction of zeros in [0, 1), or a schedule such as `aeb.sparsity_ramp`.
        scope: "leaf", "global" or "relative", as in `aeb.magnitude`. "relative" divides each leaf
            by its norm before it is ranked.
        of: what the fraction is a fraction of: the "selected" leaves, or "all" parameters.
        regrow: whether a pruned weight may return. Use False if the network has BatchNorm and you
            prune more than nine tenths (see `aeb.magnitude`).
        decay: in [0, 1), how much of F stays at each step.
        damping: at least 0, the share of the leaf's average F that is added to each F_j. The
            larger it is, the more the rule ranks by magnitude within a leaf.

    Returns:
        A `Sparsifier` that leaves exactly round(s * size) zeros. Its mask is a `Ranked`.

    Raises:
        ValueError: an argument is out of its range, or, at init, the selected leaves are too few
            to reach the target.

    Example:
        >>> rule, where = fisher(0.5), lambda path, leaf: True
        >>> params, grad = jnp.array([3.0, -1.0]), jnp.array([0.1, 2.0])
        >>> state = rule.observe(rule.init(params, None, where), grad)
        >>> rule.apply(params, (), None, state, 0, where)[0]
        Array([ 0., -1.], dtype=float32)
    """
    guards.within("decay", decay, "[0, 1)")
    guards.at_least("damping", damping, 0.0)

    def rank(leaves: list[jax.Array], paths: list[str], information: Any) -> list[list[jax.Array]]:
        worth = []
        for leaf, path in zip(leaves, paths, strict=True):
            f = information[path]
            # The smallest number lets magnitude decide before the first gradient.
            root = jnp.sqrt(jnp.maximum(f + damping * jnp.mean(f), jnp.finfo(f.dtype).tiny))
            worth.append(leaf.astype(f.dtype) * root)
        return [worth]

    inner = ramped_rule(rank, ramp, scope=scope, of=of, regrow=regrow)

    def init(params: ArrayTree, rho: Any, where: Callable[[str, Any], bool]) -> Ranked:
        information = {
            path: jnp.zeros_like(leaf, dtype=working_dtype(leaf))
            for path, leaf in select(params, where).items()
        }
        return Ranked(inner.init(params, rho, where), information)

    def observe(ranked: Ranked, grad: ArrayTree) -> Ranked:
        found = select(grad, lambda path, leaf: path in ranked.information)

        def moved(path: str, f: jax.Array) -> jax.Array:
            square = jnp.square(found[path].astype(f.dtype))
            # A gradient that is not finite is left out: dynamics may skip such a step.
            return jnp.where(jnp.isfinite(square), decay * f + (1.0 - decay) * square, f)

        information = {path: moved(path, f) for path, f in ranked.information.items()}
        return ranked._replace(information=information)

    def apply(
        params: ArrayTree,
        momentum: ArrayTree,
        rho: Any,
        mask: Ranked,
        count: Any,
        where: Callable[[str, Any], bool],
    ) -> tuple[ArrayTree, ArrayTree, Ranked]:
        # Where other rules are handed rho, `rank` above is handed the information.
        params, momentum, kept = inner.apply(
            params, momentum, mask.information, mask.mask, count, where
        )
        return params, momentum, mask._replace(mask=kept)

    return Sparsifier(init, apply, inner.kept, observe)
