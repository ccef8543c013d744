# SPDX-License-Identifier: Apache-2.0
"""Sample which columns of a linear regression matter, with the coefficients integrated out.

The prior has a normal spike and a normal slab:

    y = X beta + noise,  noise ~ N(0, sigma^2 I),          sigma^2 ~ IG(nu/2, nu lam/2)
    beta_j | gamma_j ~ N(0, v_j sigma^2),  v_j = v1 if gamma_j = 1, else v0,
    gamma_j ~ Bernoulli(delta),  0 <= v0 <= v1

With v0 = 0 the spike is a point mass at 0. With no column in the slab, the model is ridge
regression with penalty 1 / v0. Let S be the set of columns whose gamma is 1, v = v1 - v0, and

    P = (I + v0 X X' + v X_S X_S')^-1,
    q_j = x_j' P x_j,   s_j = x_j' P y,   R = y' P y + nu lam,   e_j = 1 - 2 gamma_j.

Flipping gamma_j multiplies the posterior of S by exp(D_j),

    t_j = 1 + e_j v q_j
    D_j = e_j log(delta / (1 - delta)) - log(t_j) / 2 - (N + nu) / 2 log(1 - e_j v s_j^2 / (t_j R))

**Invariant law.** The continuous-time Gibbs sampler redraws every gamma_j from its conditional at
rate 1, and leaves p(S | y, delta, v1) invariant. The simulation skips the draws that change
nothing: S stays for 1 / sum_j sigmoid(D_j) on average, then gamma_j flips with probability
proportional to sigmoid(D_j). Averages weight each state by its stay. A flip costs one product with
X, for which `members.py` has another way,

    w = P x_j,  a = X' w,  c = e_j v / t_j:
    P <- P - c w w',   q <- q - c a^2,   s <- s - c a s_j,   R <- R - c s_j^2

**Latents.** rho_j = P(gamma_j = 1 | the other gammas, y) is sigmoid(D_j), or 1 minus it where
gamma_j is 1. In the warm-up, after each block of flips, delta, v1 and v0 move by stochastic
approximation towards

    delta~ = (sum_j rho_j + a - 1) / (a + b + p - 2)
    v1~    = (m g + sum_S E beta_j^2 / sigma^2) / (m + |S|)
    v0~    = v0 + (U - k / (1 + k v0)) / F,   k = tr X X' / (N + nu),   A = P X X',
             U = sum_{j not in S} ((N + nu) s_j^2 / R - q_j) / 2,
             F = (tr A^2 - (tr A)^2 / (N + nu)) / 2

averaged over the block and over the chains, which share the latents. v0 is kept in [0, v1]. The
first line is Eq. 8 of the paper, and the second is its counterpart for the slab; g is a guess that
counts as m coefficients. After the warm-up the latents are fixed, so all draws kept come from one
law.

U is the derivative of log p(y | S) with respect to v0, and F is the information in y about v0. The
mean square of the excluded coefficients, v0 + 2 v0^2 U / (p - |S|), would also be a target, but it
could never leave 0. A step of U / F leaves 0 as soon as U is positive. k v0 is the variance that
the spike explains divided by that of the noise. The term k / (1 + k v0) gives log(1 + k v0) a flat
prior. Without it the likelihood could keep rising with v0 if there are more columns than rows.

**Draws** of the coefficients are exact: u_j ~ N(0, v_j sigma^2), d ~ N(0, sigma^2 I), and
u + V X' P (y - X u - d) is a draw of beta, where V is diagonal with the v_j.

**Ties.** Columns may form groups that are in or out together, or may wait for others. `ties.py`
says what that changes.

References: Bortz, Kalos and Lebowitz (1975), for the simulation; Zanella (JASA 2020), for locally
informed flips; Bhattacharya, Chakraborty and Mallick (Biometrika 2016), for the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from aeb.linear import members as kept
from aeb.linear import ties as tied
from aeb.linear.members import Base
from aeb.linear.ties import Ties, Turned
from aeb.schedules import robbins_monro
from aeb.stochastic_approximation import approximate
from aeb.types import PRNGKey

__all__ = [
    "WIDEST",
    "Chain",
    "Hyper",
    "Information",
    "Problem",
    "Snapshot",
    "Totals",
    "ask",
    "averages",
    "block",
    "exchange",
    "flip",
    "gains",
    "information",
    "learn",
    "nothing",
    "num_columns",
    "refresh",
    "snapshot",
    "span",
    "start",
    "stretched",
    "unset",
]

C = TypeVar("C")

LARGEST = 60.0
"""The bound on |D|. It keeps every stay finite, even where every flip is very unlikely."""


STEEPEST = 1e5
"""The largest t of a column that an exchange may move: its relative error is about 1e-16 t^2."""

WIDEST = 1e6
"""With normal noise a learned v1 is at most this divided by N, or its guess if that is more.

If the columns explain all of y but a millionth, v1 would grow until a flip is all rounding.
"""


class Problem(NamedTuple):
    """The data, in at most p rows, and what the prior adds to them."""

    x: jax.Array  # f64[m, p]
    y: jax.Array  # f64[m]
    rest: jax.Array  # f64[]: nu lam, and the squares of y that no column can explain
    degrees: jax.Array  # f64[]: N + nu
    sigma: jax.Array | None = None  # f64[], where it is known; nu = 0 then
    log_odds: jax.Array | None = None  # f64[p]: of the columns' own prior odds, where they have any
    ties: Ties | None = None  # groups and heredity, where there are any
    tilt: jax.Array | None = (
        None  # f64[p]: added to the log odds for the flips alone; `wide.py` says why
    )
    base: Base | None = None  # of v0; then the chains have `Members` in place of P


class Hyper(NamedTuple):
    """The hyper-priors: Beta(a, b) for delta, and a guess and its weight for v1."""

    a: jax.Array
    b: jax.Array
    v1: jax.Array  # v
    v1_weight: jax.Array  # m, in coefficients; inf holds v1
    v1_most: Any = math.inf  # a learned v1 is at most this


class Chain(NamedTuple):
    """All that the next flip needs."""

    included: jax.Array  # bool[p]: gamma
    inverse: Any  # f64[m, m]: P; or the `Members` of `members.py`
    leverage: jax.Array  # f64[p]: q
    score: jax.Array  # f64[p]: s
    misfit: jax.Array  # f64[]: R
    delta: jax.Array  # f64[]
    v1: jax.Array  # f64[]
    v0: jax.Array  # f64[]
    blocks: tuple[jax.Array, ...] = ()  # f64[groups, k, k]: Q of the groups, by size


class Totals(NamedTuple):
    """Integrals over the time of a chain. Dividing them by `time` gives averages."""

    time: jax.Array  # f64[]
    rho: jax.Array  # f64[p]
    beta: jax.Array  # f64[p]: of rho_j times the mean of beta_j if included
    small: jax.Array  # f64[p]: of 1 - rho_j times the mean of beta_j if excluded
    size: jax.Array  # f64[]: of |S|
    square: jax.Array  # f64[]: of sum_S E beta_j^2 / sigma^2
    slope: jax.Array  # f64[]: of U
    open: tuple[jax.Array, ...] = ()  # f64[p]: of whether it may be in, where some wait for others


class Snapshot(NamedTuple):
    """A draw, its weight, and what each coefficient would be if its column were included."""

    time: jax.Array  # f64[]: the weight
    rho: jax.Array  # f32[p]
    included: jax.Array  # bool[p]
    beta: jax.Array  # f32[p]
    beta_if_included: jax.Array  # f32[p]
    sigma: jax.Array  # f64[]


class Information(NamedTuple):
    """What y can tell about v0."""

    fisher: jax.Array  # f64[]: F
    scale: jax.Array  # f64[]: k


class _Odds(NamedTuple):
    sign: jax.Array  # f64[p]: e
    rate: jax.Array  # f32[p]: sigmoid(D), with the tilt
    rho: jax.Array  # f32[p]
    turned: Turned  # s and q after a flip
    open: jax.Array | None  # bool[p]: which may be in, where some wait for others


def start(problem: Problem, included: jax.Array, delta: Any, v1: Any, v0: Any = 0.0) -> Chain:
    """Start a chain at a set of columns, bool[p]."""
    return refresh(problem, unset(problem, included, delta, v1, v0))


def unset(problem: Problem, included: jax.Array, delta: Any, v1: Any, v0: Any) -> Chain:
    """Return a chain in which P, q, s and R are still to be computed, by `refresh`."""
    m, p = problem.x.shape
    zeros = jnp.zeros(p)
    none = jnp.zeros((m, m)) if problem.base is None else kept.nobody(m, p)
    latents = jnp.asarray(delta), v1, jnp.asarray(v0, float)
    blocks = tied.blocks(problem.ties, problem.x, jnp.zeros((m, p)))
    return Chain(included, none, zeros, zeros, jnp.zeros(()), *latents, blocks)


def refresh(problem: Problem, chain: Chain) -> Chain:
    """Compute P, q, s and R from S, v0 and v1. This also removes the rounding errors of flips."""
    if problem.base is not None:
        v = chain.v1 - chain.v0
        begun = kept.begin(problem.base, chain.inverse, chain.included, v)
        return chain._replace(
            inverse=begun.members,
            leverage=begun.leverage,
            score=begun.score,
            misfit=begun.misfit + problem.rest,
        )
    chosen = jnp.where(chain.included[None, :], problem.x, 0.0)
    gram = jnp.eye(len(problem.y)) + (chain.v1 - chain.v0) * jnp.matmul(chosen, chosen.T)
    gram += chain.v0 * jnp.matmul(problem.x, problem.x.T)
    factor = jax.scipy.linalg.cho_factor(gram, lower=True)
    inverse = jax.scipy.linalg.cho_solve(factor, jnp.eye(len(problem.y)))
    weighted = jnp.matmul(inverse, problem.x)
    return chain._replace(
        inverse=inverse,
        leverage=jnp.sum(problem.x * weighted, axis=0),
        score=jnp.matmul(problem.y, weighted),
        misfit=jnp.dot(problem.y, jnp.matmul(inverse, problem.y)) + problem.rest,
        blocks=tied.blocks(problem.ties, problem.x, weighted),
    )


def _odds(problem: Problem, chain: Chain) -> _Odds:
    sign = jnp.where(chain.included, -1.0, 1.0)
    step = sign * (chain.v1 - chain.v0)
    t = 1.0 + step * chain.leverage
    turned = Turned(
        t, jnp.log(t.astype(jnp.float32)), jnp.square(chain.score), chain.score, chain.leverage
    )
    if problem.ties is not None:
        turned = tied.turned(problem.ties, chain, turned, step)
    # In float32, where logarithms are many times faster. Both are precise for small arguments, and
    # where a term is large the rate is 0 or 1 anyway.
    prior = (jnp.log(chain.delta) - jnp.log1p(-chain.delta)).astype(jnp.float32)
    if problem.log_odds is not None:
        prior += problem.log_odds.astype(jnp.float32)
    stuck = opened = None
    if problem.ties is not None and problem.ties.waits is not None:
        prior = jnp.broadcast_to(prior, chain.included.shape)
        found = tied.limits(problem.ties.waits, chain.included, prior)
        stuck, more, opened = (own[problem.ties.lead] for own in found)
        prior += more
    ratio = -0.5 * turned.log_t
    if problem.sigma is None:
        half = (0.5 * problem.degrees).astype(jnp.float32)
        gain = -step * turned.square / (turned.t * chain.misfit)
        ratio -= half * jnp.log1p(gain.astype(jnp.float32))
    else:
        gain = 0.5 * step * turned.square / (turned.t * jnp.square(problem.sigma))
        ratio += gain.astype(jnp.float32)
    ratio += sign.astype(jnp.float32) * prior
    rate = jax.nn.sigmoid(jnp.clip(ratio, -LARGEST, LARGEST))
    if stuck is not None:
        rate = jnp.where(stuck, 0.0, rate)
    rho = jnp.where(chain.included, 1.0 - rate, rate)
    if problem.tilt is not None:
        ratio += (sign * problem.tilt).astype(jnp.float32)
        rate = jax.nn.sigmoid(jnp.clip(ratio, -LARGEST, LARGEST))
    return _Odds(sign, rate, rho, turned, opened)


def _precision(problem: Problem, chain: Chain) -> jax.Array:
    """Return E(1 / sigma^2 | gamma, y), f64[]."""
    if problem.sigma is None:
        return problem.degrees / chain.misfit
    return 1.0 / jnp.square(problem.sigma)


def _mean_if_included(chain: Chain, odds: _Odds) -> jax.Array:
    """Return E(beta_j | gamma_j = 1, the other gammas, y), f64[p]."""
    score = jnp.where(chain.included, chain.score, odds.turned.score)
    return chain.v1 * score / jnp.where(chain.included, 1.0, odds.turned.t)


def _mean_if_excluded(chain: Chain, odds: _Odds) -> jax.Array:
    """Return E(beta_j | gamma_j = 0, the other gammas, y), f64[p]."""
    score = jnp.where(chain.included, odds.turned.score, chain.score)
    return chain.v0 * score / jnp.where(chain.included, odds.turned.t, 1.0)


def _over(problem: Problem, chain: Chain, odds: _Odds, stay: Any) -> Totals:
    """Compute the integrals over a stay."""
    inside = jnp.where(chain.included, chain.v1 * (1.0 - chain.v1 * chain.leverage), 0.0)
    fitted = jnp.where(chain.included, jnp.square(chain.v1 * chain.score), 0.0)
    precision = _precision(problem, chain)
    pull = 0.5 * (precision * jnp.square(chain.score) - chain.leverage)
    rho = odds.rho.astype(float)
    return Totals(
        time=stay,
        rho=stay * rho,
        beta=stay * rho * _mean_if_included(chain, odds),
        small=stay * (1.0 - rho) * _mean_if_excluded(chain, odds),
        size=stay * jnp.sum(chain.included, dtype=float),
        square=stay * (jnp.sum(fitted) * precision + jnp.sum(inside)),
        slope=stay * jnp.sum(jnp.where(chain.included, 0.0, pull)),
        open=() if odds.open is None else (stay * odds.open.astype(float),),
    )


def averages(problem: Problem, chain: Chain) -> Totals:
    """Compute the integrals over a unit of time in which the chain does not move."""
    return _over(problem, chain, _odds(problem, chain), jnp.ones(()))


def flip(problem: Problem, chain: Chain, key: PRNGKey) -> tuple[Chain, Totals]:
    """Stay, then flip one gamma.

    Args:
        problem: the data.
        chain: the current state.
        key: consumed.

    Returns:
        The chain after the flip, and the integrals over the stay before it.
    """
    odds = _odds(problem, chain)
    # Drawing any column of a group flips the group.
    rate = tied.units(problem.ties, odds.rate)
    stay = 1.0 / jnp.sum(rate, dtype=float)
    stayed = _over(problem, chain, odds, stay)
    j = _choose(rate, key)
    step = odds.sign[j] * (chain.v1 - chain.v0)
    if problem.ties is not None:
        return _flip_group(problem, problem.ties, chain, j, step), stayed
    return _flip_column(problem, chain, j, step), stayed


def _flip_column(problem: Problem, chain: Chain, j: jax.Array, step: jax.Array) -> Chain:
    """Flip column j, whose e v is `step`."""
    t = 1.0 + step * chain.leverage[j]
    if problem.base is None:
        w = jnp.matmul(chain.inverse, problem.x[:, j])
        a = jnp.matmul(w, problem.x)
        c = step / t
        inverse = chain.inverse - c * w[:, None] * w[None, :]
    else:
        own = chain.inverse, j, chain.included[j], chain.v1 - chain.v0, t
        inverse, a, t = kept.flip(problem.base, *own)
        c = step / t
    s_j = chain.score[j]
    return chain._replace(
        included=chain.included.at[j].set(~chain.included[j]),
        inverse=inverse,
        leverage=chain.leverage - c * jnp.square(a),
        score=chain.score - c * s_j * a,
        misfit=chain.misfit - c * jnp.square(s_j),
    )


def _flip_group(problem: Problem, ties: Ties, chain: Chain, j: jax.Array, step: jax.Array) -> Chain:
    """Flip the columns of the group of j, whose e v is `step`."""
    columns = ties.mates[j]
    x = tied.gather(problem.x, columns)
    w = jnp.matmul(chain.inverse, x)
    a = jnp.matmul(w.T, problem.x)
    s = tied.gather(chain.score, columns)
    one = jnp.eye(len(columns))
    t_inverse = tied.sweep((one + step * jnp.matmul(x.T, w))[None], one[None])[0][0]
    # Made symmetric. Otherwise every flip or two doubles the rounding error of P.
    c = 0.5 * step * (t_inverse + t_inverse.T)
    ca, cs = jnp.matmul(c, a), jnp.matmul(c, s)
    return chain._replace(
        included=chain.included.at[columns].set(~chain.included[j], mode="drop"),
        inverse=chain.inverse - jnp.matmul(jnp.matmul(w, c), w.T),
        leverage=chain.leverage - jnp.sum(a * ca, axis=0),
        score=chain.score - jnp.matmul(cs, a),
        misfit=chain.misfit - jnp.dot(s, cs),
        blocks=tuple(
            q - jnp.einsum("agi,agj->gij", tied.gather(a, table), tied.gather(ca, table))
            for q, table in zip(chain.blocks, ties.tables, strict=True)
        ),
    )


def exchange(problem: Problem, chain: Chain, key: PRNGKey) -> Chain:
    """Replace a member of S by a column drawn from its conditional.

    The member i is drawn uniformly, and leaves. Of the columns outside the rest, i among them, j
    comes in with probability proportional to p(S | y) with j in the place of i. The way back has
    the same rest and the same candidates, so the step leaves p(S | y) invariant. It lets columns
    that stand for each other change places at once. By flips alone, the model would have to hold
    both or neither of them in between.

    Columns whose t is above `STEEPEST` do not take part, as i or as j: P would lose too many digits
    if such a column left.

    Args:
        problem: the data, without ties.
        chain: the current state.
        key: consumed.

    Returns:
        The chain. It stays as it is if S is empty, or if i does not take part.
    """
    member_key, place_key = jax.random.split(key)
    level = jax.random.uniform(member_key, chain.included.shape)
    step = chain.v1 - chain.v0
    i = jnp.argmax(jnp.where(chain.included, level, -1.0))
    # 1 - v q_i is 1 / t_i once i has left.
    takes_part = jnp.any(chain.included) & (STEEPEST * (1.0 - step * chain.leverage[i]) >= 1.0)
    without = _flip_column(problem, chain, i, -step)
    j = jax.random.categorical(place_key, _log_weights(problem, without))
    moved = _flip_column(problem, without, j, step)
    return jax.tree.map(lambda new, old: jnp.where(takes_part, new, old), moved, chain)


def _log_weights(problem: Problem, chain: Chain) -> jax.Array:
    """Compute log p(S and j | y), up to a constant, for each j outside S; -inf for the others.

    In double precision: these are compared with each other, and may all be large.
    """
    step = chain.v1 - chain.v0
    t = 1.0 + step * chain.leverage
    gain = step * jnp.square(chain.score) / t
    if problem.sigma is None:
        fit = -0.5 * problem.degrees * jnp.log1p(-gain / chain.misfit)
    else:
        fit = 0.5 * gain / jnp.square(problem.sigma)
    weights = fit - 0.5 * jnp.log(t)
    for own in (problem.log_odds, problem.tilt):
        weights += 0.0 if own is None else own
    return jnp.where(chain.included | (t > STEEPEST), -jnp.inf, weights)


def _choose(weights: jax.Array, key: PRNGKey) -> jax.Array:
    """Draw an index with probability proportional to its weight.

    This is done in two levels, because a cumulative sum over one long axis is slow.
    """
    width = max(1, round(len(weights) ** 0.5))
    rows = jnp.pad(weights, (0, -len(weights) % width)).reshape(-1, width)
    outer_key, inner_key = jax.random.split(key)

    def pick(weights: jax.Array, key: PRNGKey) -> jax.Array:
        heights = jnp.cumsum(weights)
        level = jax.random.uniform(key, (), weights.dtype) * heights[-1]
        # Rounding may carry the level to the top. Then take the last index with any weight.
        last = jnp.max(jnp.where(weights > 0, jnp.arange(len(weights)), 0))
        return jnp.minimum(jnp.sum(heights <= level), last)

    row = pick(jnp.sum(rows, axis=1), outer_key)
    return row * width + pick(rows[row], inner_key)


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    """Multiply in the lower of the two precisions: widening a large x would take longer."""
    dtype = jnp.float32 if jnp.float32 in (left.dtype, right.dtype) else jnp.float64
    return jnp.matmul(left.astype(dtype), right.astype(dtype)).astype(float)


def snapshot(
    problem: Problem, chain: Chain, time: jax.Array, key: PRNGKey, chi: jax.Array
) -> Snapshot:
    """Draw sigma and the coefficients given S; `chi` is a draw of Gamma((N + nu) / 2)."""
    m, p = problem.x.shape
    odds = _odds(problem, chain)
    # In float32, where they are faster to draw and to compile.
    normal = jax.random.normal(key, (2 * p + m,), jnp.float32).astype(float)
    prior, own, noise = jnp.split(normal, [p, 2 * p])
    sigma = jnp.sqrt(0.5 * chain.misfit / chi) if problem.sigma is None else problem.sigma
    own_variance = jnp.where(chain.included, chain.v1, chain.v0)
    u = jnp.sqrt(own_variance) * prior
    off = problem.y - sigma * (_product(problem.x, u) + noise)
    if problem.base is None:
        pulled = _product(jnp.matmul(chain.inverse, off), problem.x)
    else:
        pulled = kept.pull(problem.base, chain.inverse, chain.v1 - chain.v0, off)
    beta = sigma * u + own_variance * pulled
    # With j included, v1 (1 - v1 q_j) is the variance of beta_j divided by that of the noise, and R
    # is the misfit. If j is not in S, both follow from the flip.
    turned = odds.turned
    leverage = jnp.where(chain.included, chain.leverage, turned.leverage / turned.t)
    variance = chain.v1 * (1.0 - chain.v1 * leverage)
    gained = (chain.v1 - chain.v0) * turned.square / turned.t
    misfit = chain.misfit - jnp.where(chain.included, 0.0, gained)
    spread = jnp.sqrt(variance) * sigma
    if problem.sigma is None:
        spread = jnp.sqrt(variance * 0.5 * misfit / chi)
    return Snapshot(
        time=time,
        rho=odds.rho,
        included=chain.included,
        beta=beta.astype(jnp.float32),
        beta_if_included=(_mean_if_included(chain, odds) + spread * own).astype(jnp.float32),
        sigma=sigma,
    )


def span(
    problem: Problem, chain: Chain, key: PRNGKey, length: Any
) -> tuple[Chain, Totals, jax.Array]:
    """Flip for a stretch of time, with stays drawn from their law.

    At the end of a stretch, S is a draw of p(S | y). After a number of flips it is not, unless it
    is weighted by its stay. So the problem may change only at the end of a stretch.

    Args:
        problem: the data.
        chain: the current state.
        key: consumed.
        length: the length of the stretch.

    Returns:
        The chain, the integrals over the stretch, and the number of flips, i32[].
    """

    def go(carry: tuple[Chain, Totals, jax.Array]) -> jax.Array:
        return carry[1].time < length

    def step(carry: tuple[Chain, Totals, jax.Array]) -> tuple[Chain, Totals, jax.Array]:
        chain, totals, count = carry
        flip_key, stay_key = jax.random.split(jax.random.fold_in(key, count))
        moved, stayed = flip(problem, chain, flip_key)
        stay = stayed.time * -jnp.log1p(-jax.random.uniform(stay_key, dtype=float))
        ends = totals.time + stay >= length
        share = jnp.where(ends, length - totals.time, stay) / stayed.time
        totals = jax.tree.map(lambda total, part: total + share * part, totals, stayed)
        # The last stay uses up the time exactly. A rest left by rounding would cause another flip.
        totals = totals._replace(time=jnp.where(ends, length, totals.time))
        chain = jax.tree.map(lambda new, old: jnp.where(ends, old, new), moved, chain)
        return chain, totals, count + jnp.where(ends, 0, 1)

    empty = nothing(problem.x.shape[1], problem.ties)
    return jax.lax.while_loop(go, step, (chain, empty, jnp.zeros((), int)))


def nothing(p: int, ties: Ties | None = None) -> Totals:
    """Return integrals over no time: zeros."""
    one, each = jnp.zeros(()), jnp.zeros(p)
    waits = ties is not None and ties.waits is not None
    return Totals(one, each, each, each, one, one, one, (each,) if waits else ())


def block(
    problem: Problem, chain: Chain, key: PRNGKey, chi: jax.Array, *, flips: int
) -> tuple[Chain, Totals, Snapshot]:
    """Flip, and make one draw per `flips` flips.

    A draw is made at one of the states between its flips, chosen with probability proportional to
    the stays. Its weight is the sum of these stays. The last state would not do: after an even
    number of flips, |S| is odd if it was odd before.

    Args:
        problem: the data.
        chain: the current state.
        key: consumed.
        chi: f64[draws], draws of Gamma((N + nu) / 2).
        flips: the number of flips per draw.

    Returns:
        The chain, the integrals over the block, and the draws. The first axis of their leaves is
        draws.
    """
    empty = nothing(problem.x.shape[1], problem.ties)

    def draw(carry: tuple[Chain, Totals], own: Any) -> tuple[tuple[Chain, Totals], Snapshot]:
        d, chi = own
        flip_key, draw_key = jax.random.split(jax.random.fold_in(key, d))

        def step(i: jax.Array, carry: tuple[Chain, Totals, Chain]) -> tuple[Chain, Totals, Chain]:
            chain, totals, chosen = carry
            own_key, choice_key = jax.random.split(jax.random.fold_in(flip_key, i))
            moved, stayed = flip(problem, chain, own_key)
            totals = jax.tree.map(jnp.add, totals, stayed)
            takes = jax.random.uniform(choice_key) * totals.time <= stayed.time
            chosen = jax.tree.map(lambda new, old: jnp.where(takes, new, old), chain, chosen)
            return moved, totals, chosen

        chain, before = carry
        chain, totals, chosen = jax.lax.fori_loop(0, flips, step, (chain, empty, chain))
        made = snapshot(problem, chosen, totals.time, draw_key, chi)
        return (chain, jax.tree.map(jnp.add, before, totals)), made

    (chain, totals), snapshots = jax.lax.scan(draw, (chain, empty), (jnp.arange(len(chi)), chi))
    return chain, totals, snapshots


def gains(number: jax.Array, warmup: int, first: Any) -> tuple[jax.Array, jax.Array]:
    """Return the gains with which the latents move after a block; 0 after the warm-up.

    Args:
        number: i32[], the number of the block, counted from 0.
        warmup: the number of blocks in which the latents are learned.
        first: the first block in which v0 is learned.

    Returns:
        The gain of delta and v1, and that of v0. Both are (2 + k)^-0.7 in the k-th block of their
        learning.
    """
    gain = robbins_monro(1.0, 2.0)
    late = number - first
    learning = number < warmup
    return (
        jnp.where(learning, gain(number), 0.0),
        jnp.where(learning & (late >= 0), gain(jnp.maximum(late, 0)), 0.0),
    )


def ask(tell: Callable[[C], Information], chains: C, omega_v0: Any) -> Information:
    """Compute the information about v0 of each chain, if v0 is to move.

    It costs as much as a refresh. If v0 does not move, nobody uses it, and it is ones.

    Args:
        tell: computes it for one chain.
        chains: the chains; the first axis of each leaf is chains.
        omega_v0: the gain of v0.
    """
    one = jnp.ones(len(jax.tree.leaves(chains)[0]))
    return jax.lax.cond(omega_v0 > 0.0, jax.vmap(tell), lambda _: Information(one, one), chains)


def stretched(length: jax.Array, flips: jax.Array, thinning: int, omega: Any) -> jax.Array:
    """Move the length of a stretch towards the one that has the requested number of flips.

    Args:
        length: the length of the last stretches.
        flips: the average number of flips in one of them.
        thinning: the requested number.
        omega: the gain, in [0, 1].
    """
    # Add one to both, so that a stretch without flips does not make the next one endless.
    return approximate(length, length * (thinning + 1.0) / (flips + 1.0), omega)


def learn(
    hyper: Hyper,
    chains: Chain,
    totals: Totals,
    told: Information,
    omega: Any,
    omega_v0: Any,
    log_odds: jax.Array | None = None,
    ties: Ties | None = None,
) -> Chain:
    """Move the latents, without updating what follows from them.

    Args:
        hyper: the hyper-priors.
        chains: the chains; the first axis of each leaf is chains.
        totals: the integrals over their last block.
        told: the information about v0 of each chain.
        omega: the gain of delta and v1, in [0, 1].
        omega_v0: the gain of v0, in [0, 1].
        log_odds: f64[p], logs of the columns' own prior odds.
        ties: the ties between the columns.

    Returns:
        The chains. Their P, q, s and R are still those of the old latents.
    """
    p = num_columns(chains.included.shape[1], log_odds, ties)
    own = jax.tree.map(
        lambda part: jnp.mean(part, axis=0),
        totals._replace(
            rho=jnp.sum(tied.units(ties, totals.rho), axis=1) / totals.time,
            size=totals.size / totals.time,
            square=totals.square / totals.time,
            slope=totals.slope / totals.time,
            open=tuple(own / totals.time[:, None] for own in totals.open),
        ),
    )
    old = chains.delta[0], chains.v1[0], chains.v0[0]
    told = jax.tree.map(lambda part: jnp.mean(part, axis=0), told)
    pull = told.scale / (1.0 + told.scale * old[2])
    size = own.rho
    opened = own.open[0] if own.open else None
    if opened is not None:
        # Columns that may not be in carry no information about delta.
        can = 1.0 if log_odds is None else (log_odds > -jnp.inf).astype(float)
        p = jnp.sum(tied.units(ties, opened * can))
    if log_odds is not None:
        # Correct the size for the columns' own odds, as if delta alone had applied.
        logit = jnp.log(old[0]) - jnp.log1p(-old[0])
        expected = jax.nn.sigmoid(logit + log_odds)
        expected = expected if opened is None else opened * expected
        size += p * old[0] - jnp.sum(tied.units(ties, expected))
        size = jnp.clip(size, 0.0, p)
    target = (
        (size + hyper.a - 1.0) / (hyper.a + hyper.b + p - 2.0),
        # Divided by the weight m, so that an infinite one holds v1 at its guess.
        jnp.minimum(
            (hyper.v1 + own.square / hyper.v1_weight) / (1.0 + own.size / hyper.v1_weight),
            hyper.v1_most,
        ),
    )
    delta, v1 = approximate(old[:2], target, omega)
    v0 = approximate(old[2], old[2] + (own.slope - pull) / told.fisher, omega_v0)
    shape = chains.delta.shape
    return chains._replace(
        delta=jnp.broadcast_to(delta, shape),
        v1=jnp.broadcast_to(v1, shape),
        v0=jnp.broadcast_to(jnp.clip(v0, 0.0, v1), shape),
    )


def num_columns(p: int, log_odds: jax.Array | None, ties: Ties | None = None) -> Any:
    """Count the columns that may be in the model. A group counts as one; odds of 0 mark padding."""
    if ties is not None:
        can = jnp.ones(p) if log_odds is None else (log_odds > -jnp.inf).astype(float)
        return jnp.sum(tied.units(ties, can))
    return p if log_odds is None else jnp.sum(log_odds > -jnp.inf, dtype=float)


def information(problem: Problem, chain: Chain, kernel: jax.Array | None = None) -> Information:
    """Compute the information in y about v0. It is smaller if sigma has to be learned.

    Args:
        problem: the data.
        chain: the current state.
        kernel: X X', f64[m, m], if it is known.

    Returns:
        F, computed as if no column were in S, and k.
    """
    size = jnp.sum(jnp.square(problem.x)) if kernel is None else jnp.trace(kernel)
    if problem.base is None:
        if kernel is None:
            a = jnp.matmul(jnp.matmul(chain.inverse, problem.x), problem.x.T)
        else:
            a = jnp.matmul(chain.inverse, kernel)
        trace, square = jnp.trace(a), jnp.sum(a * a.T)
    else:
        trace = jnp.sum(chain.leverage)
        square = kept.square(problem.base, chain.inverse, chain.v1 - chain.v0)
    fisher = 0.5 * square
    if problem.sigma is None:
        fisher -= 0.5 * jnp.square(trace) / problem.degrees
    return Information(
        # As many orthogonal columns as rows carry no information about v0.
        fisher=jnp.maximum(fisher, 1e-6 * jnp.square(trace)),
        scale=size / problem.degrees,
    )
