# SPDX-License-Identifier: Apache-2.0
"""Tied columns: groups that are in or out together, and columns that wait for others.

**Groups.** The columns of a group g share one gamma. Each coefficient has its own slab
N(0, v1 sigma^2). In the notation of `support.py`, with X_g the k columns of g,

    Q = X_g' P X_g,  s = X_g' P y,  T = I + e v Q,  C = e v T^-1,
    D_g = e log(delta / (1 - delta)) - log det(T) / 2 - (N + nu) / 2 log(1 - s' C s / R)

and a flip costs a product of k columns with X,

    W = P X_g,  A = W' X:
    P <- P - W C W',   q_j <- q_j - a_j' C a_j,   s <- s - A' C s_g,   R <- R - s_g' C s_g

After the flip, T^-1 s and T^-1 Q replace s and Q. The chain keeps the matrices Q of all groups with
more than one column, padded with zero columns to a power of two. T^-1 is computed by Gauss-Jordan
elimination, for all groups at once. This needs no pivots, because T is positive definite. A column
on its own is a group of one.

**Heredity.** A column c may wait for others, its parents. It may be in only if at least `need` of
them are in: all (strong heredity) or one (weak). If it may be in, it is in with its prior
probability (Chipman, Canadian Journal of Statistics 1996). So the prior of a parent is the same as
without children. The flip of a parent changes whether c may be in if

    (number of c's other parents that are in) = need_c - 1.

Such a flip is impossible while c is in. While c is out, the odds of this parent gain the factor
1 - prior_c, the probability that c is out although it may be in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "NONE",
    "Ties",
    "Turned",
    "Waits",
    "blocks",
    "close",
    "gather",
    "limits",
    "pad_ties",
    "prior_draws",
    "sweep",
    "tie",
    "turned",
    "units",
]

NONE = np.iinfo(np.int32).max
"""Means "no column" in a table of columns. Reading it gives 0; writing to it does nothing."""


class Waits(NamedTuple):
    """Columns that wait for others, each the first of its group; NumPy or JAX arrays."""

    child: Any  # i32[c]
    parents: Any  # i32[c, most]: padded with NONE
    need: Any  # i32[c]: how many of the parents have to be in


class Ties(NamedTuple):
    """Which columns belong together, and which wait for others; NumPy or JAX arrays."""

    share: Any  # f64[p]: 1 over the number of columns in the group
    lead: Any  # i32[p]: the first column of the group
    mates: Any  # i32[p, largest]: the columns of the group, padded with NONE
    tables: tuple[Any, ...]  # i32[groups, k]: groups of more than one column, by size
    waits: Waits | None


class Turned(NamedTuple):
    """s_j and q_j after a flip of gamma_j: score / t and leverage / t."""

    t: jax.Array  # f64[p]
    log_t: jax.Array  # f32[p]: log det T
    square: jax.Array  # f64[p]: e v square / t is s' C s
    score: jax.Array  # f64[p]
    leverage: jax.Array  # f64[p]


def tie(
    labels: np.ndarray, parents: dict[int, tuple[int, ...]], *, strong: bool = True
) -> Ties | None:
    """Build the ties, or return None if every column is on its own.

    Args:
        labels: i64[p], equal for the columns of a group.
        parents: a mapping from the columns that wait to their parents. All of these are the first
            columns of their groups.
        strong: whether they wait for all parents or for one.
    """
    p = len(labels)
    _, first, place, size = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    if len(size) == p and not parents:
        return None
    mates = np.full((p, size.max()), NONE, np.int32)
    tables: dict[int, list[np.ndarray]] = {}
    for group, (start, count) in enumerate(zip(first, size, strict=True)):
        columns = np.flatnonzero(place == group) if count > 1 else np.array([start])
        mates[columns, :count] = columns
        if count > 1:
            width = 1 << int(count - 1).bit_length()
            tables.setdefault(width, []).append(
                np.pad(columns, (0, width - count), constant_values=NONE)
            )
    waits = None
    if parents:
        most = max(len(own) for own in parents.values())
        waits = Waits(
            np.array(list(parents), np.int32),
            np.array([(*own, *[NONE] * (most - len(own))) for own in parents.values()], np.int32),
            np.array([len(own) if strong else 1 for own in parents.values()], np.int32),
        )
    return Ties(
        1.0 / size[place],
        first[place].astype(np.int32),
        mates,
        tuple(np.array(tables[width], np.int32) for width in sorted(tables)),
        waits,
    )


def pad_ties(ties: Ties | None, p: int) -> Ties | None:
    """Add untied columns until there are p."""
    if ties is None:
        return None
    own = np.arange(len(ties.share), p, dtype=np.int32)
    mates = np.full((len(own), ties.mates.shape[1]), NONE, np.int32)
    mates[:, 0] = own
    return ties._replace(
        share=jnp.concatenate([ties.share, np.ones(len(own))]),
        lead=jnp.concatenate([ties.lead, own]),
        mates=jnp.concatenate([ties.mates, mates]),
    )


def close(included: np.ndarray, ties: Ties | None) -> np.ndarray:
    """Make sets valid, bool[..., p]: groups follow their first column, waiting columns are out."""
    if ties is None:
        return included
    if ties.waits is not None:
        included = included.copy()
        included[..., ties.waits.child] = False
    return included[..., ties.lead]


def prior_draws(ties: Ties, prior: np.ndarray, draws: int = 10_000) -> np.ndarray:
    """Draw from the prior which columns are in, bool[draws, p].

    Args:
        ties: ties with columns that wait, parents before their children.
        prior: f64[p], the probability of each column if it may be in.
        draws: the number of draws.
    """
    rng = np.random.default_rng(0)
    included = rng.random((draws, len(prior)), np.float32) < prior
    if ties.waits is not None:
        for child, parents, need in zip(*ties.waits, strict=True):
            held = included[:, parents[parents != NONE]].sum(axis=1)
            included[:, child] &= held >= need
    return included[:, ties.lead]


def units(ties: Ties | None, values: jax.Array) -> jax.Array:
    """Weight values, f64[..., p], so that a group counts as one column in a sum."""
    if ties is None:
        return values
    share = ties.share.astype(values.dtype)
    return values * share.reshape((1,) * (values.ndim - 1) + (-1,))


def gather(array: jax.Array, columns: jax.Array) -> jax.Array:
    """Read columns of f[..., p] at the given places; 0 where the place is p or `NONE`."""
    return array.at[..., columns].get(mode="fill", fill_value=0)


def blocks(ties: Ties | None, x: jax.Array, weighted: jax.Array) -> tuple[jax.Array, ...]:
    """Compute Q of each group from X and P X, f64[m, p]: one f64[groups, k, k] per table."""
    if ties is None:
        return ()
    return tuple(
        jnp.einsum("mgi,mgj->gij", gather(x, table), gather(weighted, table))
        for table in ties.tables
    )


def sweep(matrix: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Solve positive definite systems by Gauss-Jordan elimination.

    Args:
        matrix: f64[g, k, k].
        right: f64[g, k, r].

    Returns:
        The solutions, f64[g, k, r], and log det, f64[g].
    """
    k = matrix.shape[-1]

    def step(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        both, log_det = carry
        pivot = both[:, i, i]
        row = both[:, i] / pivot[:, None]
        off = both[:, :, i].at[:, i].set(0.0)
        both = (both - off[:, :, None] * row[:, None, :]).at[:, i].set(row)
        return both, log_det + jnp.log(pivot)

    begin = jnp.concatenate([matrix, right], axis=-1), jnp.zeros(len(matrix), matrix.dtype)
    both, log_det = jax.lax.fori_loop(0, k, step, begin)
    return both[..., k:], log_det


def turned(ties: Ties, chain: Any, alone: Turned, step: jax.Array) -> Turned:
    """Compute what follows from a flip of the columns in groups of more than one.

    Args:
        ties: ties with the tables.
        chain: the current state.
        alone: the same for flips of single columns.
        step: f64[p], e v.
    """
    for table, q in zip(ties.tables, chain.blocks, strict=True):
        s, own = gather(chain.score, table), step[table[:, 0]]
        matrix = jnp.eye(q.shape[-1])[None] + own[:, None, None] * q
        after, log_det = sweep(matrix, jnp.concatenate([s[..., None], q], axis=-1))
        each = Turned(
            t=jnp.ones(table.shape),
            log_t=jnp.broadcast_to(log_det[:, None], table.shape).astype(jnp.float32),
            square=jnp.broadcast_to(jnp.sum(s * after[..., 0], axis=1)[:, None], table.shape),
            score=after[..., 0],
            leverage=jnp.diagonal(after[..., 1:], axis1=1, axis2=2),
        )
        alone = Turned(
            *(
                array.at[table].set(values, mode="drop")
                for array, values in zip(alone, each, strict=True)
            )
        )
    return alone


def limits(
    waits: Waits, included: jax.Array, prior: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compute the effect of heredity on each column that is the first of its group.

    Args:
        waits: which columns wait for which.
        included: bool[p].
        prior: f32[p], log prior odds of each column.

    Returns:
        Which columns may not flip, bool[p]; what is added to the log prior odds, f32[p]; and which
        columns may be in, bool[p].
    """
    child, parents, need = waits
    held = gather(included.astype(jnp.int32), parents)
    count = jnp.sum(held, axis=1, dtype=held.dtype)
    # Parents whose flip would change whether the child may be in.
    turns = count[:, None] - held == (need - 1)[:, None]
    is_in = included[child]
    closed = jnp.zeros(len(included), bool).at[child].set(count < need)
    stuck = jnp.zeros(len(included), bool).at[parents].max(turns & is_in[:, None], mode="drop")
    out = -jax.nn.softplus(prior[child])
    more = jnp.zeros_like(prior).at[parents].add(jnp.where(turns, out[:, None], 0.0), mode="drop")
    return stuck | closed, more, ~closed
