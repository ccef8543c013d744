# SPDX-License-Identifier: Apache-2.0
"""Sample which of very many columns matter, by flips among a few of them at a time.

The continuous-time process of `support.py` redraws every gamma at rate 1, and each flip costs a
product with X. Here only the columns in a set A flip, so a flip costs a product with X_A. Each
chain has its own A, and draws a new one for each draw of the coefficients:

    A | S   column j is in A with probability tau_j if it is in S, and pi_j if it is not
    S | A   the process runs for a stretch of `length`; only the columns in A flip, and their
            log prior odds are raised by log(tau_j / pi_j), the tilt; at the start, and after
            every ten flips or so, columns of S change places with others in A
    then q and s of all columns are computed from S, and a draw of the coefficients is made

**Invariant law.** Both steps leave p(S | y) P(A | S) invariant for any pi and tau. P(A | S) is a
product over the columns. A column in A has the factor tau_j if it is in S, and pi_j if it is not.
So conditioning on A multiplies the odds of these columns by tau_j / pi_j.

With tau = 1 the chains mix as if all columns flipped. A column that came in by chance is also in
the next A, so it can leave again. A rare column is in A with probability pi_j, and its odds are
then multiplied by 1 / pi_j, so it comes in about as often.

A has `ACTIVE` places. If it needs more, S does not change during that stretch. The law stays
invariant, because whether this happens depends on A alone, and the flips do not change A.

A stretch ends after a fixed time, not after a number of flips, because the states right after a
flip have another law. So all draws weigh the same. The average of rho_j does not include the tilt.
For j in A it is taken over the stretch, and otherwise at its end. Given A, both have the same
expectation.

**Choice of pi and tau.** They follow the chains during the warm-up, and are then fixed. pi_j is
proportional to the average of rho_j plus 1 / p, but at most 1. tau is 1 unless S would take too
many places of A. Then each column of S that pi did not put into A is kept with a common
probability.

**Precision.** X is rounded once, to float32. P, the flips, and q and s of the columns in A are in
float64. q and s of the other columns are in float32. P is computed from S before each stretch,
starting from its value for v0 alone and adding a few columns at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb.linear.support import (
    Chain,
    Hyper,
    Problem,
    Snapshot,
    Totals,
    ask,
    averages,
    exchange,
    gains,
    information,
    learn,
    nothing,
    num_columns,
    snapshot,
    span,
    stretched,
)
from aeb.linear.ties import gather
from aeb.stochastic_approximation import approximate
from aeb.types import PRNGKey

__all__ = ["ACTIVE", "LEAST", "Offer", "active", "offer", "run", "shares"]

FLIPS = 10
"""Flips between exchanges, on average."""

EXCHANGES = 4
"""Exchanges in a row.

At 100 flips a draw, five keys on riboflavin agree in every inclusion probability to .056 with 2,
and to .031 with 4.
"""

LEAST = 4_000
"""Tables with at least this many columns are sampled this way.

The times at 10,000 columns suggest that both ways take about as long at 1,000.
"""

ACTIVE = 256
"""Places for columns in A."""

AT_ONCE = 4
"""Columns of S that one pass over X adds."""


class Bare(NamedTuple):
    """P and q for v0 alone, with no column in S."""

    inverse: jax.Array  # f64[m, m]: (I + v0 X X')^-1
    leverage: jax.Array  # f64[p]: of each column, from float32


class State(NamedTuple):
    """All that the next block needs. The first axis of `chains` is chains."""

    chains: Chain
    bare: Bare
    chance: jax.Array  # f64[p]: average rho
    length: jax.Array  # f64[]: of a stretch, in units of time


def shares(chance: jax.Array, count: float) -> jax.Array:
    """Compute probabilities in proportion to chance + 1 / p, but at most 1.

    Args:
        chance: f64[p], at least 0.
        count: their sum, below p.

    Returns:
        f64[p].
    """
    weights = chance + 1.0 / len(chance)

    def halve(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = 0.5 * (ends[0] + ends[1])
        over = jnp.sum(jnp.minimum(jnp.exp(middle) * weights, 1.0)) > count
        return jnp.where(over, ends[0], middle), jnp.where(over, middle, ends[1])

    # At the upper end all are 1, and their sum is p.
    ends = jnp.zeros(()) - 50.0, -jnp.log(jnp.min(weights))
    low, high = jax.lax.fori_loop(0, 60, halve, ends)
    part = jnp.minimum(jnp.exp(0.5 * (low + high)) * weights, 1.0)
    return part * (count / jnp.sum(part))


class Offer(NamedTuple):
    """The probabilities with which A is drawn."""

    out: jax.Array  # f64[p], pi: the probability of a column that is out of S
    inside: jax.Array  # f64[p], tau: that of a column in S


def offer(chance: jax.Array, count: int) -> Offer:
    """Choose pi and tau.

    Args:
        chance: f64[p], average rho.
        count: places for A, at most p.

    Returns:
        Probabilities that leave room in A: on average four standard deviations of its size, or
        half of the places if these are few.
    """
    # The variance of the number of columns in A is no larger than `count`.
    room = max(count - 4.0 * count**0.5, 0.5 * count)
    out = shares(chance, 0.75 * room)
    kept = jnp.minimum(0.25 * room / jnp.sum(chance * (1.0 - out)), 1.0)
    return Offer(out, 1.0 - (1.0 - out) * (1.0 - kept))


def active(offer: Offer, included: jax.Array, level: jax.Array, count: int) -> jax.Array:
    """Draw A.

    Args:
        offer: pi and tau.
        included: bool[p], S.
        level: f64[p], uniform on [0, 1).
        count: places for A.

    Returns:
        The columns in ascending order, i64[count]. Unused places hold p. If A has more columns than
        places, all places hold p.
    """
    rank = jnp.cumsum(level < jnp.where(included, offer.inside, offer.out))
    columns = jnp.searchsorted(rank, jnp.arange(1, count + 1))
    return jnp.where(rank[-1] > count, len(level), columns)


def _bare(problem: Problem, kernel: jax.Array, v0: jax.Array) -> Bare:
    def wide(v0: jax.Array) -> Bare:
        eye = jnp.eye(len(kernel))
        inverse = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(eye + v0 * kernel), True), eye)
        weighted = jnp.matmul(inverse.astype(problem.x.dtype), problem.x)
        return Bare(inverse, jnp.sum(problem.x * weighted, axis=0).astype(float))

    def point(_: jax.Array) -> Bare:
        return Bare(jnp.eye(len(kernel)), jnp.sum(jnp.square(problem.x), axis=0).astype(float))

    return jax.lax.cond(v0 > 0.0, wide, point, v0)


def _sweep(problem: Problem, bare: Bare, chains: Chain) -> Chain:
    """Compute P, q, s and R from S. One pass over X adds several columns of all chains."""
    count, p = chains.included.shape
    rank = jnp.cumsum(chains.included, axis=1)
    find = jax.vmap(jnp.searchsorted, in_axes=(0, None))
    most = jnp.max(rank[:, -1])

    def add(inverse: jax.Array, columns: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Add columns to P. Return P and the roots of what they subtract, f64[columns, m]."""
        x = gather(problem.x, columns).astype(float)
        w = jnp.matmul(inverse, x)
        factor = jnp.linalg.cholesky(jnp.eye(AT_ONCE) + step * jnp.matmul(x.T, w))
        roots = jax.scipy.linalg.solve_triangular(factor, jnp.sqrt(step) * w.T, lower=True)
        return inverse - jnp.matmul(roots.T, roots), roots

    def some(carry: Any) -> Any:
        inverse, leverage, done = carry
        columns = find(rank, done + jnp.arange(1, AT_ONCE + 1))
        inverse, roots = jax.vmap(add)(inverse, columns, chains.v1 - chains.v0)
        flat = roots.reshape(count * AT_ONCE, -1).astype(problem.x.dtype)
        taken = jnp.matmul(flat, problem.x).reshape(count, AT_ONCE, p)
        less = jnp.sum(jnp.square(taken), axis=1).astype(float)
        return inverse, leverage - less, done + AT_ONCE

    inverse = jnp.broadcast_to(bare.inverse, (count, *bare.inverse.shape))
    leverage = jnp.broadcast_to(bare.leverage, (count, p))
    begin = inverse, leverage, jnp.zeros((), int)
    inverse, leverage, _ = jax.lax.while_loop(lambda carry: carry[2] < most, some, begin)
    pulled = jnp.matmul(inverse, problem.y)
    return chains._replace(
        inverse=inverse,
        leverage=leverage,
        score=jnp.matmul(pulled.astype(problem.x.dtype), problem.x).astype(float),
        misfit=jnp.matmul(pulled, problem.y) + problem.rest,
    )


def _draw(
    problem: Problem,
    state: State,
    offered: Offer,
    key: PRNGKey,
    chi: jax.Array,
    pieces: int,
) -> tuple[Chain, jax.Array, Totals, Snapshot]:
    """Run a stretch. Return the chains, their flips, the averages, and a draw of each chain."""
    chains, p = state.chains, problem.x.shape[1]
    keys = jax.random.split(key, (4, len(chi)))
    odds = jnp.zeros(p) if problem.log_odds is None else problem.log_odds
    tilt = jnp.log(offered.inside) - jnp.log(offered.out)

    def go(
        chain: Chain, own: PRNGKey, key: PRNGKey, other: PRNGKey
    ) -> tuple[jax.Array, Chain, Totals, jax.Array]:
        level = jax.random.uniform(own, (p,), float)
        columns = active(offered, chain.included, level, min(ACTIVE, p))
        # An unused place holds a column of zeros, which stays out of the model.
        part = problem._replace(
            x=gather(problem.x, columns).astype(float),
            log_odds=odds.at[columns].get(mode="fill", fill_value=-jnp.inf),
            tilt=gather(tilt, columns),
        )
        weighted = jnp.matmul(chain.inverse, part.x)
        begun = chain._replace(
            included=gather(chain.included, columns),
            leverage=jnp.sum(part.x * weighted, axis=0),
            score=jnp.matmul(problem.y, weighted),
        )

        def swap(k: jax.Array, chain: Chain) -> Chain:
            return exchange(part, chain, jax.random.fold_in(other, k))

        def piece(k: jax.Array, carry: tuple[Chain, Totals, jax.Array]) -> Any:
            chain, totals, flips = carry
            first = k * EXCHANGES
            chain = jax.lax.fori_loop(first, first + EXCHANGES, swap, chain)
            own = jax.random.fold_in(key, k)
            chain, passed, count = span(part, chain, own, state.length / max(pieces, 1))
            return chain, jax.tree.map(jnp.add, totals, passed), flips + count

        carry = begun, nothing(part.x.shape[1]), jnp.zeros((), int)
        return columns, *jax.lax.fori_loop(0, pieces, piece, carry)

    places, ended, passed, flips = jax.vmap(go)(chains, keys[0], keys[1], keys[3])
    scatter = jax.vmap(lambda full, place, own: full.at[place].set(own, mode="drop"))
    chains = chains._replace(included=scatter(chains.included, places, ended.included))
    chains = _sweep(problem, state.bare, chains)
    chains = chains._replace(
        leverage=scatter(chains.leverage, places, ended.leverage),
        score=scatter(chains.score, places, ended.score),
    )
    told = jax.vmap(lambda chain: averages(problem, chain))(chains)
    over = {
        name: scatter(getattr(told, name), places, getattr(passed, name) / state.length)
        for name in ("rho", "beta", "small")
    }
    made = jax.vmap(lambda *own: snapshot(problem, own[0], jnp.ones(()), *own[1:]))(
        chains, keys[2], chi
    )
    return chains, flips, told._replace(**over), made


@functools.lru_cache(maxsize=8)
def _program(warmup: int, thinning: int) -> Callable[..., Any]:
    """Compile a block."""
    pieces = max(1, round(thinning / FLIPS))

    @functools.partial(jax.jit, donate_argnums=(3,))
    def block(
        problem: Problem,
        kernel: jax.Array,
        hyper: Hyper,
        state: State,
        first: jax.Array,
        number: jax.Array,
        chi: jax.Array,
        key: PRNGKey,
    ) -> tuple[State, Totals, Snapshot]:
        def prepare(state: State) -> State:
            bare = _bare(problem, kernel, state.chains.v0[0])
            return state._replace(bare=bare, chains=_sweep(problem, bare, state.chains))

        # For the first block, and after each block that moved the latents.
        state = jax.lax.cond(number <= warmup, prepare, lambda state: state, state)
        offered = offer(state.chance, min(ACTIVE, problem.x.shape[1]))

        def step(state: State, own: Any) -> Any:
            d, chi = own
            own_key = jax.random.fold_in(key, d)
            chains, flips, told, made = _draw(problem, state, offered, own_key, chi, pieces)
            return state._replace(chains=chains), (jnp.mean(flips.astype(float)), told, made)

        state, (flips, told, made) = jax.lax.scan(step, state, (jnp.arange(len(chi)), chi))
        totals = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), told)
        omega, omega_v0 = gains(number, warmup, first)
        facts = ask(lambda chain: information(problem, chain, kernel), state.chains, omega_v0)
        chains = learn(hyper, state.chains, totals, facts, omega, omega_v0, problem.log_odds)
        rho = jnp.mean(totals.rho / totals.time[:, None], axis=0)
        moved = State(
            chains,
            state.bare,
            approximate(state.chance, rho, omega),
            stretched(state.length, jnp.mean(flips), thinning, omega),
        )
        return moved, totals, made

    return block


def _begin(problem: Problem, hyper: Hyper, starts: np.ndarray, v0: Any) -> State:
    """Return the state before the first block, which itself computes what follows from S."""
    (count, p), m = starts.shape, len(problem.y)
    delta = float(hyper.a / (hyper.a + hyper.b + num_columns(p, problem.log_odds)))

    def full(value: Any, *shape: int) -> jax.Array:
        # Made on the host: XLA would compile a program for each shape.
        return jnp.array(np.full(shape, float(value)))

    chains = Chain(
        included=jnp.array(starts),
        inverse=full(0.0, count, m, m),
        leverage=full(0.0, count, p),
        score=full(0.0, count, p),
        misfit=full(0.0, count),
        delta=full(delta, count),
        v1=full(hyper.v1, count),
        v0=full(v0, count),
    )
    return State(chains, Bare(full(0.0, m, m), full(0.0, p)), full(delta, p), full(1.0))


def run(
    problem: Problem,
    hyper: Hyper,
    starts: np.ndarray,
    spike: tuple[Any, ...],
    chi: np.ndarray,
    key: PRNGKey,
    *,
    warmup: int,
    thinning: int,
) -> tuple[Chain, Totals, Snapshot]:
    """Sample. The results are kept on the host, because they need the most memory.

    Args:
        problem: its x is f32[m, p].
        hyper: the hyper-priors.
        starts: bool[chains, p].
        spike: the initial v0, and the first block in which v0 is learned.
        chi: f64[blocks, chains, draws in a block], draws of Gamma((N + nu) / 2).
        key: consumed.
        warmup: the number of blocks to discard, fewer than there are.
        thinning: flips per draw, on average.

    Returns:
        The chains, the totals after the warm-up, and the draws. The draws lead with
        (1, chains, draws), as if they came from a single block.
    """
    block = _program(warmup, thinning)
    kernel = _kernel(np.asarray(problem.x))
    state = _begin(problem, hyper, starts, spike[0])
    blocks, count, each = chi.shape
    kept: list[Any] | None = None
    totals: Any = None
    for number in range(blocks):
        own = jnp.asarray(chi[number].T)
        state, passed, made = block(
            problem,
            kernel,
            hyper,
            state,
            spike[1],
            jnp.asarray(number),
            own,
            jax.random.fold_in(key, number),
        )
        if number < warmup:
            continue
        at = (number - warmup) * each
        if kept is None:
            shape = 1, count, (blocks - warmup) * each
            kept = [np.empty((*shape, *leaf.shape[2:]), leaf.dtype) for leaf in made]
            totals = jax.tree.map(np.zeros_like, jax.device_get(passed))
        for whole, leaf in zip(kept, made, strict=True):
            whole[0, :, at : at + each] = np.swapaxes(np.asarray(leaf), 0, 1)
        totals = jax.tree.map(np.add, totals, jax.device_get(passed))
    assert kept is not None  # blocks > warmup, for at least ten draws are kept
    return jax.device_get(state.chains), totals, Snapshot(*kept)


def _kernel(x: np.ndarray) -> jax.Array:
    """Compute X X' in float64, from a few columns at a time."""
    kernel = np.zeros((len(x), len(x)))
    for first in range(0, x.shape[1], 4096):
        part = x[:, first : first + 4096].astype(np.float64)
        kernel += part @ part.T
    return jnp.asarray(kernel)
