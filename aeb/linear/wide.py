# SPDX-License-Identifier: Apache-2.0
"""Sampling which columns matter where there are very many: flips among a few of them at a time.

The process in continuous time of `support.py` redraws every gamma at rate 1, and each of its flips
costs a product with X. Here the rate of a column is 1 while it is one of a set A of `ACTIVE`
columns, and else 0. A is drawn anew for each draw, and by nothing that the chains do meanwhile, so
that p(S | y) stays invariant:

    A is drawn, column j in it with probability pi_j, by even spacing over the sums of pi
    S runs for a stretch of `length`, its flips among A;  a flip costs a product with X_A
    q and s of all columns are worked out anew, and a draw of the coefficients is made

Stretches end at a time, not after so many flips, for else the end would lie with the jump chain.
All draws weigh the same. An average of rho_j is over the stretch where j is in A, and else at its
end; neither favours any model.

pi follows the chains in the warm-up, and is held after it: in proportion to the average rho_j plus
1 / p, but at most 1. So what may matter is always in A, and everything else is now and then.

**Precision.** X is held in float32, to which the data are rounded once. A, P and the flips are in
float64; q and s of columns out of A are in float32. P is worked out from S for each stretch, by
adding its columns one by one to what v0 alone gives.
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
    Information,
    Problem,
    Snapshot,
    Totals,
    averages,
    information,
    learn,
    num_columns,
    snapshot,
    span,
)
from aeb.schedules import robbins_monro
from aeb.stochastic_approximation import approximate
from aeb.types import PRNGKey

__all__ = ["ACTIVE", "LEAST", "active", "run", "shares"]

LEAST = 20_000
"""Columns from which on a table is sampled so."""

ACTIVE = 1024
"""Columns in A."""

AT_ONCE = 8
"""Columns of S whose products with X are taken in one pass over it."""


class Bare(NamedTuple):
    """What v0 gives with no column in S."""

    inverse: jax.Array  # f64[m, m]: (I + v0 X X')^-1
    leverage: jax.Array  # f64[p]: of each column, from float32


class State(NamedTuple):
    """All that the next block needs; the chains lead with the chains."""

    chains: Chain
    bare: Bare
    chance: jax.Array  # f64[p]: average rho
    length: jax.Array  # f64[]: of a stretch


def shares(chance: jax.Array, count: int) -> jax.Array:
    """Compute the probability of each column to be in A, f64[p], of sum `count`.

    Args:
        chance: f64[p], at least 0.
        count: columns in A, fewer than p.
    """
    weights = chance + 1.0 / len(chance)

    def halve(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = 0.5 * (ends[0] + ends[1])
        over = jnp.sum(jnp.minimum(jnp.exp(middle) * weights, 1.0)) > count
        return jnp.where(over, ends[0], middle), jnp.where(over, middle, ends[1])

    # At the upper end all are 1, whose sum is p.
    ends = jnp.zeros(()) - 50.0, -jnp.log(jnp.min(weights))
    low, high = jax.lax.fori_loop(0, 60, halve, ends)
    part = jnp.minimum(jnp.exp(0.5 * (low + high)) * weights, 1.0)
    return part * (count / jnp.sum(part))


def active(share: jax.Array, start: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Draw A by even spacing.

    Args:
        share: f64[p], the probability of each column, of sum `count`.
        start: uniform on [0, 1).
        count: columns in A.

    Returns:
        The columns, i64[count] in rising order, and which of them rounding has put there twice.
    """
    columns = jnp.searchsorted(
        jnp.cumsum(share), start + jnp.arange(count, dtype=float), side="right"
    )
    columns = jnp.minimum(columns, len(share) - 1)
    return columns, jnp.append(jnp.zeros(1, bool), columns[1:] == columns[:-1])


def _bare(problem: Problem, kernel: jax.Array, v0: jax.Array) -> Bare:
    def wide(v0: jax.Array) -> Bare:
        inverse = jnp.linalg.inv(jnp.eye(len(kernel)) + v0 * kernel)
        weighted = jnp.matmul(inverse.astype(problem.x.dtype), problem.x)
        return Bare(inverse, jnp.sum(problem.x * weighted, axis=0).astype(float))

    def point(_: jax.Array) -> Bare:
        return Bare(jnp.eye(len(kernel)), jnp.sum(jnp.square(problem.x), axis=0).astype(float))

    return jax.lax.cond(v0 > 0.0, wide, point, v0)


def _add(problem: Problem, step: jax.Array, inverse: jax.Array, left: jax.Array) -> Any:
    """Put the first column that is left into P; return P, the rest, and what it takes off."""
    j = jnp.argmax(left)
    x = problem.x[:, j].astype(float)
    w = jnp.matmul(inverse, x)
    c = jnp.where(left[j], step / (1.0 + step * jnp.dot(w, x)), 0.0)
    root = jnp.sqrt(c) * w
    return inverse - root[:, None] * root[None, :], left.at[j].set(False), root


def _sweep(problem: Problem, bare: Bare, chains: Chain) -> Chain:
    """Work out P, q, s and R from S, a pass over X for several columns of all chains."""
    count, p = chains.included.shape
    add = jax.vmap(functools.partial(_add, problem))
    step = chains.v1 - chains.v0

    def some(carry: Any) -> Any:
        inverse, left, leverage = carry

        def one(carry: Any, _: Any) -> Any:
            inverse, left, root = add(step, *carry)
            return (inverse, left), root

        (inverse, left), roots = jax.lax.scan(one, (inverse, left), None, AT_ONCE)
        flat = roots.reshape(AT_ONCE * count, -1).astype(problem.x.dtype)
        taken = jnp.matmul(flat, problem.x).reshape(AT_ONCE, count, p)
        return inverse, left, leverage - jnp.sum(jnp.square(taken), axis=0).astype(float)

    inverse = jnp.broadcast_to(bare.inverse, (count, *bare.inverse.shape))
    leverage = jnp.broadcast_to(bare.leverage, (count, p))
    begin = inverse, chains.included, leverage
    inverse, _, leverage = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), some, begin)
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
    share: jax.Array,
    key: PRNGKey,
    chi: jax.Array,
) -> tuple[Chain, jax.Array, Totals, Snapshot]:
    """Run a stretch; return the chains, their flips, the averages, and a draw of each."""
    chains, p = state.chains, problem.x.shape[1]
    keys = jax.random.split(key, 1 + 2 * len(chi))
    columns, twice = active(share, jax.random.uniform(keys[0], dtype=float), min(ACTIVE, p))
    odds = jnp.zeros(p) if problem.log_odds is None else problem.log_odds
    # A column that is there twice is out of the model in its second place, for good.
    part = problem._replace(
        x=problem.x[:, columns].astype(float),
        log_odds=jnp.where(twice, -jnp.inf, odds[columns]),
    )
    places = jnp.where(twice, p, columns)

    def go(chain: Chain, key: PRNGKey) -> tuple[Chain, Totals, jax.Array]:
        weighted = jnp.matmul(chain.inverse, part.x)
        own = chain._replace(
            included=chain.included[columns] & ~twice,
            leverage=jnp.sum(part.x * weighted, axis=0),
            score=jnp.matmul(problem.y, weighted),
        )
        return span(part, own, key, state.length)

    ended, passed, flips = jax.vmap(go)(chains, keys[1 : 1 + len(chi)])
    scatter = jax.vmap(lambda full, own: full.at[places].set(own, mode="drop"))
    chains = chains._replace(included=scatter(chains.included, ended.included))
    chains = _sweep(problem, state.bare, chains)
    chains = chains._replace(
        leverage=scatter(chains.leverage, ended.leverage),
        score=scatter(chains.score, ended.score),
    )
    told = jax.vmap(lambda chain: averages(problem, chain))(chains)
    over = {
        name: scatter(getattr(told, name), getattr(passed, name) / state.length)
        for name in ("rho", "beta", "small")
    }
    made = jax.vmap(lambda *own: snapshot(problem, own[0], jnp.ones(()), *own[1:]))(
        chains, keys[1 + len(chi) :], chi
    )
    return chains, flips, told._replace(**over), made


@functools.lru_cache(maxsize=8)
def _programs(warmup: int, thinning: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the start and a block."""
    gain = robbins_monro(1.0, 2.0)

    @jax.jit
    def begin(problem: Problem, kernel: jax.Array, hyper: Hyper, starts: Any, v0: Any) -> State:
        count, p = starts.shape
        delta = hyper.a / (hyper.a + hyper.b + num_columns(p, problem.log_odds))
        m = len(problem.y)
        empty = jnp.zeros((count, p))
        one, none = jnp.ones(count), jnp.zeros(count)
        latents = delta * one, hyper.v1 * one, v0 * one
        held = jnp.zeros((count, m, m))
        chains = Chain(starts, held, empty, empty, none, latents[0], latents[1], latents[2])
        bare = _bare(problem, kernel, v0)
        chance = jnp.full(p, delta)
        return State(_sweep(problem, bare, chains), bare, chance, jnp.ones(()))

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
        share = shares(state.chance, min(ACTIVE, problem.x.shape[1]))

        def step(state: State, own: Any) -> Any:
            d, chi = own
            chains, flips, told, made = _draw(
                problem, state, share, jax.random.fold_in(key, d), chi
            )
            return state._replace(chains=chains), (jnp.mean(flips.astype(float)), told, made)

        state, (flips, told, made) = jax.lax.scan(step, state, (jnp.arange(len(chi)), chi))
        totals = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), told)
        omega = jnp.where(number < warmup, gain(number), 0.0)
        late = number - first
        omega_v0 = jnp.where((number < warmup) & (late >= 0), gain(jnp.maximum(late, 0)), 0.0)
        one = jnp.ones(chi.shape[1])
        facts = jax.lax.cond(
            omega_v0 > 0.0,
            jax.vmap(lambda chain: information(problem, chain, kernel)),
            lambda _: Information(one, one),
            state.chains,
        )
        chains = learn(hyper, state.chains, totals, facts, omega, omega_v0, problem.log_odds)
        bare = jax.lax.cond(
            omega_v0 > 0.0,
            lambda: _bare(problem, kernel, chains.v0[0]),
            lambda: state.bare,
        )
        chains = jax.lax.cond(omega > 0.0, lambda: _sweep(problem, bare, chains), lambda: chains)
        # One flip more, so that none at all does not make the next stretch endless.
        asked = state.length * (thinning + 1.0) / (jnp.mean(flips) + 1.0)
        rho = jnp.mean(totals.rho / totals.time[:, None], axis=0)
        state = State(
            chains,
            bare,
            approximate(state.chance, rho, omega),
            approximate(state.length, asked, omega),
        )
        return state, totals, made

    return begin, block


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
    """Sample; what comes back is on the host, for it is the largest part of the memory.

    Args:
        problem: its x is f32[m, p].
        hyper: the hyper-priors.
        starts: bool[chains, p].
        spike: v0 to begin with, and the first block in which it is learned.
        chi: f64[blocks, chains, draws in a block], draws of Gamma((N + nu) / 2).
        key: consumed.
        warmup: blocks left out.
        thinning: flips for each draw, on average.

    Returns:
        The chains, the totals after the warm-up, and the draws, which lead with (1, chains,
        draws), as those of a single block.
    """
    begin, block = _programs(warmup, thinning)
    kernel = _kernel(np.asarray(problem.x))
    state = begin(problem, kernel, hyper, jnp.asarray(starts), spike[0])
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
    """X X' in float64, of a few columns at a time."""
    kernel = np.zeros((len(x), len(x)))
    for first in range(0, x.shape[1], 4096):
        part = x[:, first : first + 4096].astype(np.float64)
        kernel += part @ part.T
    return jnp.asarray(kernel)
