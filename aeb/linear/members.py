# SPDX-License-Identifier: Apache-2.0
"""Flips that read a few rows of X' X, and not all of X.

In `support.py` a flip multiplies by X and changes the m x m matrix P. With normal noise, and while
few columns are in the model, all that a flip needs is in a p x p matrix G:

    P0 = (I + v0 X X')^-1,   G = X' P0 X,   M = (I + v G_SS)^-1,   v = v1 - v0
    P = P0 - v P0 X_S M X_S' P0

To flip gamma_j, let 1_j be the unit vector of j's place in M. If j comes in, its row and column of
M were 0, and

    h = v M G_Sj,   t = 1 + v q_j,   a = X' P x_j = G_j - G_S' h,   M <- M + (h - 1_j)(h - 1_j)' / t

If j leaves,

    t = M_jj,   a = G_S' M_j,   M <- M - M_j M_j' / t

after which its row and column are 0, up to rounding. Then q, s and R change as in `support.py`. A
draw of the coefficients needs X' P d for a vector d. With z = X' P0 d, this is z - v G_S' M z_S.

So the cost of a flip does not depend on the number of rows. G changes only with v0, which the
chains share, so it is computed once a block while v0 is learned.

M has a fixed number of places. A chain that needs more is marked and must be run again with P. Both
ways make the same chain from the same key, up to rounding, so this introduces no bias.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from aeb.linear.ties import gather

__all__ = [
    "LEAST",
    "Base",
    "Begun",
    "Members",
    "begin",
    "flip",
    "nobody",
    "places",
    "prepare",
    "pull",
    "square",
    "unset",
]

LEAST = 160
"""The least number of rows for which this pays.

With few rows a flip by P costs as little, and compiles faster (5.5 to 7 seconds of a processor for
7 to 10). A fit of 200 x 300 numbers takes 5 seconds of a processor, and 10 with P; one of
574 x 1,001 takes 9, and 78 with P.
"""

PLACES = 128
"""The largest number of places in M."""

AT_ONCE = 4
"""Rows of G that are read at a time. The number of places is a multiple of it."""


class Base(NamedTuple):
    """What follows from X, y and v0."""

    weighted: jax.Array  # f64[m, p]: P0 X
    gram: jax.Array  # f64[p, p]: G
    score: jax.Array  # f64[p]: X' P0 y
    misfit: jax.Array  # f64[]: y' P0 y


class Members(NamedTuple):
    """The columns in S and the matrix M. They stand for P."""

    columns: jax.Array  # i32[k]: the columns in S, in any order; p where a place is empty
    inverse: jax.Array  # f64[k, k]: M; 0 where a place is empty, up to rounding
    over: jax.Array  # bool[]: whether S ever needed more places


class Begun(NamedTuple):
    """What follows from S."""

    members: Members
    leverage: jax.Array  # f64[p]: q
    score: jax.Array  # f64[p]: s
    misfit: jax.Array  # f64[]: y' P y


def places(num_rows: int) -> int:
    """Return the number of places: a quarter of the rows, but not more than `PLACES`."""
    return min(num_rows // 4 // AT_ONCE * AT_ONCE, PLACES)


def unset(x: jax.Array) -> Base:
    """Return a base of zeros, for X, f64[m, p]: it is still to be computed, by `prepare`."""
    p = x.shape[1]
    return Base(jnp.zeros_like(x), jnp.zeros((p, p)), jnp.zeros(p), jnp.zeros(()))


def prepare(x: jax.Array, y: jax.Array, v0: jax.Array) -> Base:
    """Compute what follows from X, f64[m, p], y, f64[m], and v0, f64[]."""
    factor = jnp.linalg.cholesky(jnp.eye(len(y)) + v0 * jnp.matmul(x, x.T))
    weighted = jax.scipy.linalg.cho_solve((factor, True), x)
    score = jnp.matmul(y, weighted)
    # P0 y is y - v0 X X' P0 y.
    misfit = jnp.dot(y, y) - v0 * jnp.dot(jnp.matmul(y, x), score)
    return Base(weighted, jnp.matmul(x.T, weighted), score, misfit)


def nobody(num_rows: int, num_columns: int) -> Members:
    """Return empty places."""
    count = places(num_rows)
    columns = jnp.full(count, num_columns, jnp.int32)
    return Members(columns, jnp.zeros((count, count)), jnp.zeros((), bool))


def begin(base: Base, members: Members, included: jax.Array, v: jax.Array) -> Begun:
    """Compute M from S, and with it q, s and y' P y.

    Args:
        base: of v0.
        members: of them only the mark is kept.
        included: bool[p], S.
        v: f64[], v1 - v0.
    """
    p = len(included)
    rank = jnp.cumsum(included)
    columns = jnp.searchsorted(rank, jnp.arange(1, len(members.columns) + 1))
    rows = _rows(base, columns)
    factor = jnp.linalg.cholesky(jnp.eye(len(columns)) + v * gather(rows, columns))
    filled = jnp.where(columns < p, jnp.eye(len(columns)), 0.0)
    # One solve for both: two that run at once, each over all chains, may wait for each other for
    # ever (jaxlib 0.10.2, two threads).
    solved = jax.scipy.linalg.cho_solve((factor, True), jnp.concatenate([filled, rows], axis=1))
    inverse, taken = jnp.split(solved, [len(columns)], axis=1)
    own = gather(base.score, columns)
    pulled = v * jnp.matmul(inverse, own)
    return Begun(
        Members(columns.astype(jnp.int32), inverse, members.over | (rank[-1] > len(columns))),
        jnp.diag(base.gram) - v * jnp.sum(rows * taken, axis=0),
        base.score - jnp.matmul(pulled, rows),
        base.misfit - jnp.dot(own, pulled),
    )


def _rows(base: Base, columns: jax.Array) -> jax.Array:
    """Read rows of G, f64[k, p]; 0 where a place is empty."""
    return base.gram.at[columns].get(mode="fill", fill_value=0.0)


def _combine(base: Base, columns: jax.Array, weights: jax.Array) -> jax.Array:
    """Compute G_S' weights, f64[p], from as few rows of G as S needs."""
    places = jnp.arange(1, len(columns) + 1)
    last = jnp.max(jnp.where(columns < len(base.gram), places, 0))

    def some(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        done, total = carry
        rows = _rows(base, jax.lax.dynamic_slice(columns, (done,), (AT_ONCE,)))
        own = jax.lax.dynamic_slice(weights, (done,), (AT_ONCE,))
        # Not as a product: the rows would have to be written first.
        return done + AT_ONCE, total + jnp.sum(own[:, None] * rows, axis=0)

    begin = jnp.zeros((), int), jnp.zeros(len(base.gram))
    return jax.lax.while_loop(lambda carry: carry[0] < last, some, begin)[1]


def flip(
    base: Base, members: Members, j: jax.Array, leaves: jax.Array, v: jax.Array, t: jax.Array
) -> tuple[Members, jax.Array, jax.Array]:
    """Flip column j.

    Args:
        base: of v0.
        members: those before the flip.
        j: i[], the column.
        leaves: bool[], whether it is in S.
        v: f64[], v1 - v0.
        t: f64[], 1 + v q_j. It is used if the column comes in.

    Returns:
        The members after the flip, a before it, and t. For a column that leaves, t is read from M,
        where it keeps its digits: 1 - v q_j would lose most of them if v q_j is near 1.
    """
    columns, inverse, over = members
    empty = len(base.gram)
    j = jnp.asarray(j, columns.dtype)
    found = columns == jnp.where(leaves, j, empty)
    place = jnp.argmax(found)
    row = base.gram[j]
    h = v * jnp.matmul(inverse, gather(row, columns))
    change = jnp.where(leaves, inverse[place], h.at[place].add(-1.0))
    a = jnp.where(leaves, 0.0, row) + _combine(base, columns, jnp.where(leaves, change, -h))
    t = jnp.where(leaves, inverse[place, place], t)
    inverse = inverse + jnp.where(leaves, -1.0, 1.0) / t * change[:, None] * change[None, :]
    columns = columns.at[place].set(jnp.where(leaves, empty, j))
    return Members(columns, inverse, over | ~jnp.any(found)), a, t


def pull(base: Base, members: Members, v: jax.Array, d: jax.Array) -> jax.Array:
    """Compute X' P d, f64[p], for a vector d, f64[m]."""
    z = jnp.matmul(d, base.weighted)
    weights = v * jnp.matmul(members.inverse, gather(z, members.columns))
    return z - jnp.sum(weights[:, None] * _rows(base, members.columns), axis=0)


def square(base: Base, members: Members, v: jax.Array) -> jax.Array:
    """Compute the trace of (P X X')^2, which is the sum of the squares of X' P X."""
    rows = _rows(base, members.columns)
    taken = jnp.matmul(rows.T, v * jnp.matmul(members.inverse, rows))
    return jnp.sum(jnp.square(base.gram - taken))
