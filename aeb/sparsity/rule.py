# SPDX-License-Identifier: Apache-2.0
"""What the rules share: counts, scopes, and zeros that may or may not return.

A rule says what weights are ranked by. This module turns a ranking and a ramp into a `Sparsifier`.
Of the n weights in the chosen leaves, exactly K stay. The scope says which:

    leaf        the same fraction of each leaf, those with the highest rank
    global      the K weights with the highest rank over all leaves
    relative    as global, after each leaf is divided by its norm |beta_l|; the weight with the
                highest rank in each leaf always stays

Why relative? One threshold over all leaves compares weights on different scales, although a layer
that BatchNorm follows gives the same outputs at any scale. So a global threshold can empty a layer,
and then no signal passes. Dividing a leaf by its norm removes its scale, and leaves a small layer,
such as the last one, a larger share of its weights. The rule is LAMP without the sort. LAMP ranks
by beta_j^2 over the sum of the squares of all beta_i in the leaf with |beta_i| >= |beta_j|. For the
smallest weight that is left in a pruned leaf, that sum is the squared norm. If weights are pruned
one by one, both rules leave the same weights.

References: Lee, Park, Mo, Ahn and Shin, "Layer-adaptive Sparsity for the Magnitude-based Pruning",
ICLR 2021, for LAMP; Gupta et al., "Is Complexity Required for Neural Network Pruning?", arXiv
2209.14624, for a minimum number of weights that a global threshold leaves in each layer, here one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb import guards
from aeb.precision import working_dtype
from aeb.schedules import as_schedule
from aeb.tree import replace_leaves, select
from aeb.types import ArrayTree, ScalarOrSchedule, Sparsifier
from aeb.xla.threshold import order_bits, smallest, smallest_of_each

__all__ = ["SCOPES", "Masks", "pruning_rule", "ramped_rule"]

SCOPES = ("leaf", "global", "relative")

Masks = dict[str, jax.Array]
"""bool arrays by path."""

Ranking = Callable[[list[jax.Array], list[str], Any], Sequence[list[jax.Array]]]
"""`(leaves, paths, rho) -> criteria`, each a list with an array for each leaf, one entry per unit
that is pruned whole. Entries of small magnitude go first, and a later list breaks ties."""


def ramped_rule(
    rank: Ranking,
    ramp: ScalarOrSchedule,
    *,
    scope: str,
    of: str,
    regrow: bool,
    check: Callable[[Any], None] = lambda rho: None,
) -> Sparsifier:
    """Build a rule that prunes the lowest-ranked entries, as many as the ramp asks for.

    Args:
        rank: returns the criteria, in arrays that broadcast against the leaves from the last axis.
        ramp: fraction of zeros in [0, 1), or a schedule.
        scope: one of `SCOPES`; see the module's docstring.
        of: "selected" or "all", the parameters that the fraction is a fraction of.
        regrow: whether a pruned weight may return.
        check: raises an error if the inclusion probabilities do not suit the rule; by default,
            none.

    Returns:
        A `Sparsifier`.
    """
    guards.share("ramp", ramp)
    guards.one_of("scope", scope, SCOPES)
    guards.one_of("of", of, ("selected", "all"))
    sparsity_at = as_schedule(ramp)

    def check_reach(params: ArrayTree, rho: Any, sparse: dict[str, Any]) -> None:
        check(rho)
        part = sum(x.size for x in sparse.values()) / sum(x.size for x in jax.tree.leaves(params))
        with jax.ensure_compile_time_eval():
            target = sparsity_at(2**31 - 1)
        if of == "all" and not isinstance(target, jax.core.Tracer) and float(target) > part:
            raise ValueError(
                f"ramp: {float(target):.4g} of all parameters cannot be zero, the leaves "
                f"chosen by where hold {part:.4g} of them; lower it or choose more leaves"
            )

    def fraction_of(params: ArrayTree, sparse: dict[str, jax.Array], count: Any) -> Any:
        """Return the share of the selected leaves that is zero after this step."""
        fraction = sparsity_at(count)
        if of == "all":
            everything = sum(x.size for x in jax.tree.leaves(params))
            fraction = fraction * (everything / sum(x.size for x in sparse.values()))
        return fraction

    def kept(params: ArrayTree, count: Any, where: Callable[[str, Any], bool]) -> Any:
        share = 1.0 - fraction_of(params, select(params, where), count)
        return jnp.clip(jnp.asarray(share, float), 0.0, 1.0)

    def choose(
        params: ArrayTree, sparse: dict[str, jax.Array], rho: Any, mask: Masks, count: Any
    ) -> Masks:
        fraction = fraction_of(params, sparse, count)
        paths = list(sparse)
        leaves = [sparse[path] for path in paths]
        if scope == "relative":
            leaves = [_over_its_norm(leaf) for leaf in leaves]
        criteria = [order_bits(ranks) for ranks in rank(leaves, paths, rho)]
        if mask:
            # Weights that were pruned for good rank below all others.
            alive = [jnp.broadcast_to(mask[path], sparse[path].shape) for path in paths]
            kept = [_reduced_like(a, c) for a, c in zip(alive, criteria[0], strict=True)]
            criteria.insert(0, [k.astype(jnp.uint32) for k in kept])
        if scope == "relative":
            criteria[0] = _hold_one_each(criteria)
        sizes = [entry.size for entry in criteria[0]]
        if scope == "leaf":
            marks = smallest_of_each(criteria, _zeros(fraction, np.asarray(sizes)))
        else:
            marks = smallest(criteria, _zeros(fraction, sum(sizes)))
        return dict(zip(paths, marks, strict=True))

    return pruning_rule(choose, regrow=regrow, check=check_reach)._replace(kept=kept)


def pruning_rule(
    choose: Callable[..., Masks],
    *,
    regrow: bool,
    check: Callable[..., None] = lambda params, rho, sparse: None,
) -> Sparsifier:
    """Build a `Sparsifier` from a function that chooses the weights to set to zero.

    Args:
        choose: `(params, sparse, rho, mask, count) -> pruned`, bool arrays by path that
            broadcast against the leaves.
        regrow: if True, a pruned weight keeps its gradient and momentum and may return. If False,
            the rule remembers its mask and clears the momentum of pruned weights.
        check: `(params, rho, sparse)`, raises an error if the rule cannot work; by default, none.

    Returns:
        A `Sparsifier`. With `regrow` its mask is `()`, otherwise a dict from path to bool arrays,
        True where the weight is kept.
    """

    def init(params: ArrayTree, rho: Any, where: Callable[[str, Any], bool]) -> Any:
        sparse = select(params, where)
        check(params, rho, sparse)
        if regrow:
            return ()
        return {path: jnp.ones_like(leaf, dtype=bool) for path, leaf in sparse.items()}

    def apply(
        params: ArrayTree,
        momentum: ArrayTree,
        rho: Any,
        mask: Any,
        count: Any,
        where: Callable[[str, Any], bool],
    ) -> tuple[ArrayTree, ArrayTree, Any]:
        sparse = _masked(select(params, where), mask) if mask else select(params, where)
        pruned = choose(params, sparse, rho, mask, count)
        keep = {path: jnp.broadcast_to(~pruned[path], leaf.shape) for path, leaf in sparse.items()}
        if mask:
            keep = {path: keep[path] & mask[path] for path in keep}
            momentum = _mask_like(params, momentum, keep)
        params = replace_leaves(params, _masked(sparse, keep))
        return params, momentum, keep if mask else mask

    return Sparsifier(init, apply)


def _zeros(fraction: Any, size: int | np.ndarray) -> Any:
    """Return round(fraction * size), half to even; in double precision if it is not an array."""
    if isinstance(fraction, jax.Array):
        most = jnp.asarray(size, fraction.dtype)
        return jnp.clip(jnp.round(fraction * most), 0, most).astype(jnp.int32)
    return np.clip(np.round(float(fraction) * size), 0, size).astype(int).tolist()


def _over_its_norm(leaf: jax.Array) -> jax.Array:
    """Divide a leaf by the root of the sum of its squares; a leaf of zeros stays as it is."""
    leaf = leaf.astype(working_dtype(leaf))
    square = jnp.sum(jnp.square(leaf))
    return leaf / jnp.sqrt(jnp.maximum(square, jnp.finfo(leaf.dtype).tiny))


def _hold_one_each(criteria: list[list[jax.Array]]) -> list[jax.Array]:
    """Rank the highest entry of each leaf above all entries that are not the highest of theirs."""
    held = []
    for place, keys in enumerate(criteria[0]):
        first = jnp.ones(keys.shape, bool)
        for ranks in (each[place] for each in criteria):
            first &= ranks == jnp.max(jnp.where(first, ranks, 0))
        index = jnp.arange(keys.size, dtype=jnp.uint32).reshape(keys.shape)
        first &= index == jnp.min(jnp.where(first, index, keys.size))
        # The highest bit is free, because keys have no sign. A leaf of zeros keeps no entry.
        highest = jnp.array(1, keys.dtype) << (8 * keys.dtype.itemsize - 1)
        held.append(jnp.where(first & (keys > 0), keys | highest, keys))
    return held


def _reduced_like(alive: jax.Array, ranked: jax.Array) -> jax.Array:
    """Return whether any weight of a ranked unit is kept."""
    return alive.any(axis=tuple(range(alive.ndim - ranked.ndim)))


def _masked(leaves: dict[str, jax.Array], keep: Masks) -> dict[str, jax.Array]:
    """Put exact zeros (never -0) wherever a leaf is not kept."""
    return {path: jnp.where(keep[path], leaf, 0) for path, leaf in leaves.items()}


def _mask_like(params: ArrayTree, momentum: ArrayTree, keep: Masks) -> ArrayTree:
    """Mask each subtree of the momentum that has the shape of the parameters."""

    def layout(tree: Any) -> Any:
        return jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]

    expected = layout(params)

    def is_position_like(tree: Any) -> bool:
        return layout(tree) == expected

    def clear(tree: Any) -> Any:
        if not is_position_like(tree):
            return tree
        named = {path: select(tree, lambda p, _: True)[path] for path in keep}
        return replace_leaves(tree, _masked(named, keep))

    return jax.tree.map(clear, momentum, is_leaf=is_position_like)
