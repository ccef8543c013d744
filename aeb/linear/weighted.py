# SPDX-License-Identifier: Apache-2.0
"""Sample which columns matter when the rows have weights that are drawn too.

The continuous-time process of `support.py` runs in stretches of a fixed length. During a stretch
the weights omega and the response z do not change. After it (`families.py`)

    sigma, beta and alpha are drawn given S, omega and z;  omega and z are drawn given these.

The stretch and the redrawing each leave p(S, omega | y) invariant. The draws at the ends of the
stretches all weigh the same. Averages are integrals over the stretches.

**Columns that are always in**, the intercept among them, have coefficients alpha with the prior
N(0, sigma^2 / T). T is diagonal, and an entry of 0 means a flat prior. To integrate alpha out, the
part that the base explains is subtracted from the weighted data. Stack the weighted base on
sqrt T, and call it B. Put rows of zeros below the weighted x and z to match. With Q R = B,

    x <- x - Q Q' x,   z <- z - Q Q' z,   alpha | beta ~ N(R^-1 Q' (z - x beta), sigma^2 (R'R)^-1).

If there are more rows than columns, p rows with the same x'x and x'z take the place of x.

During the warm-up, `length` moves to where a stretch has the requested number of flips.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb.linear.families import FAMILIES, Family, Response, Rows
from aeb.linear.support import (
    Chain,
    Hyper,
    Information,
    Problem,
    Snapshot,
    Totals,
    ask,
    flip,
    gains,
    information,
    learn,
    nothing,
    num_columns,
    refresh,
    snapshot,
    span,
    start,
    stretched,
)
from aeb.linear.ties import Ties
from aeb.types import PRNGKey

__all__ = ["Base", "Draw", "condense", "program"]


class Base(NamedTuple):
    """What is needed to draw alpha."""

    q: jax.Array  # f64[n, k]: Q, without the rows below
    r: jax.Array  # f64[k, k]: R


class Draw(NamedTuple):
    """A draw of everything."""

    model: Snapshot
    alpha: jax.Array  # f64[k]
    shape: jax.Array  # f64[]: f or r


def condense(
    rows: Rows,
    response: Response,
    degrees: Any,
    rest: Any,
    *,
    known_sigma: bool,
    log_odds: Any,
    ties: Ties | None = None,
) -> tuple[Problem, Base]:
    """Weight the rows, project out the base, and reduce to at most as many rows as columns.

    Args:
        rows: the data.
        response: the weights and the response.
        degrees: N + nu.
        rest: nu lam.
        known_sigma: whether sigma is known to be 1.
        log_odds: f64[p], logs of the columns' own prior odds, or None.
        ties: the ties between the columns.

    Returns:
        The problem, and what is needed to draw alpha.
    """
    root = jnp.sqrt(response.weights)
    x, z = root[:, None] * rows.x, root * response.target
    below = jnp.diag(jnp.sqrt(rows.precision))
    q, r = jnp.linalg.qr(jnp.concatenate([root[:, None] * rows.base, below]))
    base = Base(q[: len(z)], r)
    x = jnp.pad(x, ((0, len(below)), (0, 0))) - jnp.matmul(q, jnp.matmul(base.q.T, x))
    z = jnp.pad(z, (0, len(below))) - jnp.matmul(q, jnp.matmul(base.q.T, z))
    p = x.shape[1]
    if x.shape[0] > p:
        both = jnp.linalg.qr(jnp.column_stack([x, z]), mode="r")
        x, z, rest = both[:p, :p], both[:p, p], rest + jnp.square(both[p, p])
    sigma = jnp.ones(()) if known_sigma else None
    return Problem(x, z, rest, degrees, sigma, log_odds, ties), base


class _State(NamedTuple):
    chain: Chain
    response: Response


@functools.lru_cache(maxsize=8)
def program(family: str, chains: int, warmup: int, thinning: int) -> Callable[..., Any]:
    """Compile the run: `(rows, hyper, degrees, rest, log_odds, ties, starts, v0, chi, key)`.

    Args:
        family: a name in `FAMILIES`.
        chains: the number of chains.
        warmup: the number of blocks in the warm-up.
        thinning: flips per stretch, on average.

    Returns:
        A function of the data, the hyper-priors, N + nu, nu lam, log odds or None, ties or None,
        the starting sets bool[chains, p], the pair of the initial v0 and the first block in which
        it is learned, `chi` as in `block`, f64[blocks, chains, draws in a block], and a key. It
        returns the chains, the totals over the blocks after the warm-up, and the draws, shaped as
        `chi`.
    """
    kind: Family = FAMILIES[family]

    @jax.jit
    def run(
        rows: Rows,
        hyper: Hyper,
        degrees: Any,
        rest: Any,
        log_odds: Any,
        ties: Ties | None,
        starts: jax.Array,
        spike: tuple[Any, Any],
        chi: jax.Array,
        key: PRNGKey,
    ) -> tuple[Chain, Totals, Draw]:
        begin_key, run_key = jax.random.split(key)

        def solve(response: Response) -> tuple[Problem, Base]:
            return condense(
                rows,
                response,
                degrees,
                rest,
                known_sigma=kind.known_sigma,
                log_odds=log_odds,
                ties=ties,
            )

        def stretch(key: PRNGKey, length: jax.Array, carry: Any, given: Any) -> tuple[Any, Draw]:
            state, totals, count = carry
            number, chi = given
            keys = jax.random.split(jax.random.fold_in(key, number), 4)
            problem, base = solve(state.response)
            chain, passed, flips = span(problem, refresh(problem, state.chain), keys[0], length)
            made = snapshot(problem, chain, length, keys[1], chi)
            fitted = jnp.matmul(rows.x, made.beta.astype(float))
            root = jnp.sqrt(state.response.weights)
            left = jnp.matmul(root * (state.response.target - fitted), base.q)
            noise = made.sigma * jax.random.normal(keys[2], left.shape, left.dtype)
            alpha = jax.scipy.linalg.solve_triangular(base.r, left + noise)
            eta = rows.offset + jnp.matmul(rows.base, alpha) + fitted
            response = kind.redraw(keys[3], rows, eta, made.sigma)
            totals = jax.tree.map(jnp.add, totals, passed)
            draw = Draw(made, alpha, state.response.shape)
            return (_State(chain, response), totals, count + flips), draw

        def block(
            state: _State, key: PRNGKey, chi: jax.Array, length: jax.Array
        ) -> tuple[_State, Totals, jax.Array, Draw]:
            empty = state, nothing(rows.x.shape[1], ties), jnp.zeros((), int)
            (state, totals, count), draws = jax.lax.scan(
                functools.partial(stretch, key, length), empty, (jnp.arange(len(chi)), chi)
            )
            return state, totals, count, draws

        def tell(state: _State) -> Information:
            problem, _ = solve(state.response)
            return information(problem, refresh(problem, state.chain))

        def step(carry: Any, given: Any) -> tuple[Any, tuple[Totals, Draw]]:
            state, length = carry
            number, chi = given
            keys = jax.random.split(jax.random.fold_in(run_key, number), chains)
            state, totals, count, draws = jax.vmap(block, in_axes=(0, 0, 0, None))(
                state, keys, chi, length
            )
            omega, omega_v0 = gains(number, warmup, spike[1])
            told = ask(tell, state, omega_v0)
            chain = learn(hyper, state.chain, totals, told, omega, omega_v0, log_odds, ties)
            flips = jnp.mean(count.astype(float)) / chi.shape[1]
            length = stretched(length, flips, thinning, omega)
            return (state._replace(chain=chain), length), (totals, draws)

        delta = hyper.a / (hyper.a + hyper.b + num_columns(rows.x.shape[1], log_odds, ties))
        response = kind.start(rows)
        problem, _ = solve(response)
        chain = jax.vmap(lambda included: start(problem, included, delta, hyper.v1, spike[0]))(
            starts
        )
        stays = jax.vmap(lambda chain, key: flip(problem, chain, key)[1].time)(
            chain, jax.random.split(begin_key, chains)
        )
        response = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (chains, *leaf.shape)), response
        )
        carry = _State(chain, response), thinning * jnp.min(stays)
        (state, _), (totals, draws) = jax.lax.scan(step, carry, (jnp.arange(len(chi)), chi))
        totals, draws = jax.tree.map(lambda leaf: leaf[warmup:], (totals, draws))
        totals = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), totals)
        return state.chain, totals, draws

    return run
