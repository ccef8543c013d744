# SPDX-License-Identifier: Apache-2.0
"""Sparse linear regression with its uncertainty: `aeb.regression(X, y)`.

The columns and y are standardised, several chains are run from sets of columns far apart
(`support.py` has the model and the sampler), and what they found is put back into the units of the
data. All is computed in float64, whatever JAX is set to; memory is linear in the number of columns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb import guards
from aeb.evaluation.mixing import potential_scale_reduction
from aeb.linear.interpret import interpret
from aeb.linear.result import Regression
from aeb.linear.support import Chain, Hyper, Problem, Snapshot, Totals, adapt, block, start
from aeb.linear.table import Standardised, as_table, as_target, standardise
from aeb.schedules import robbins_monro
from aeb.types import PRNGKey

__all__ = ["regression"]

BLOCK = 5
"""Draws between two moves of delta and v1."""


def regression(
    X: Any,
    y: Any,
    *,
    names: Sequence[str] | None = None,
    level: float = 0.9,
    num_chains: int = 4,
    num_draws: int = 250,
    warmup: int = 125,
    thinning: int | None = None,
    a: float = 2.0,
    b: float = 2.0,
    v1: float = 0.3,
    v1_weight: float = 10.0,
    v0: float | None = None,
    nu: float = 1.0,
    lam: float = 1e-4,
    key: PRNGKey | None = None,
) -> Regression:
    """Fit a sparse linear regression, with more columns than rows if need be.

    A column is in the model with probability delta, its coefficient then N(0, v1 sigma^2) for a
    standardised column, and N(0, v0 sigma^2) where the column is left out. delta, v1 and v0 are
    learned by stochastic approximation. Where few columns matter v0 comes out as 0 or next to it,
    and what is left out has coefficient 0; where all matter a little it takes over, and the fit is
    a ridge regression whose penalty was learned. The noise is normal.

    With v0 > 0 a column is "in the model" when its coefficient is drawn from the wide normal. The
    coefficients, their draws and the averaged intervals hold the small part of a column left out
    too; what is said to be "if included" does not.

    Args:
        X: [n, p], real and finite, no column constant; an array or a data frame.
        y: [n].
        names: of the columns; by default those of the data frame, or x0, x1, ...
        level: of the intervals, in (0, 1).
        num_chains: chains, from different starts.
        num_draws: draws kept of each chain, a multiple of 5, at least 10.
        warmup: draws left out before them, a multiple of 5; delta, v1 and v0 are learned in them,
            v0 from their second third on.
        thinning: changes of the model for each draw; by default 20, or 100 where they cost
            little, with fewer than 100,000 numbers in X.
        a: first parameter of the Beta prior of delta, at least 1; a - 1 counts as columns that are
            in the model. At 1 delta can sink to 0 for good.
        b: second parameter of it, at least 1; at 1 delta can rise to 1 for good.
        v1: guess of the slab's variance, in units of sigma^2 for standardised columns.
        v1_weight: columns that the guess counts for, > 0; `math.inf` holds v1 at it.
        v0: variance of a coefficient that is left out, in the same units, at least 0 and below v1;
            None learns it. At 0 whatever is left out has no effect.
        nu: observations that the prior of sigma^2 counts for, > 0.
        lam: guess of sigma^2 over the variance of y, > 0. Where the noise is a thousandth of y or
            less (R^2 above .999999), lower it and lengthen the warm-up, or sigma comes out too
            large.
        key: typed; by default `jax.random.key(0)`, so that the same call gives the same answer.

    Returns:
        A `Regression`: coefficients, intervals, inclusion probabilities, R-hat, `predict` and
        `summary`.

    Raises:
        ValueError: the data have too few rows, a constant column, a number that is not finite or
            shapes that do not match, or an argument is out of its range.
        TypeError: the data are not real numbers.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 200))
        >>> y = 3 * X[:, 4] - 2 * X[:, 7] + rng.normal(size=60)
        >>> fit = regression(X, y)
        >>> fit.selected.tolist()
        [4, 7]
        >>> bool(abs(fit.coefficients[4] - 3) < 0.5)
        True
    """
    named = names is not None or hasattr(X, "columns")
    matrix, names, encoding = as_table("X", X, names)
    target = as_target("y", y, len(matrix))
    guards.within("level", level, "(0, 1)")
    guards.whole("num_chains", num_chains, 1)
    for name, value, low in (("num_draws", num_draws, 2 * BLOCK), ("warmup", warmup, 0)):
        guards.whole(name, value, low)
        if value % BLOCK:
            raise ValueError(f"{name}: got {value}, needs to be a multiple of {BLOCK}")
    thinning = (100 if matrix.size < 100_000 else 20) if thinning is None else thinning
    guards.whole("thinning", thinning, 1)
    guards.at_least("a", a, 1.0)
    guards.at_least("b", b, 1.0)
    for name, scale in (("v1", v1), ("nu", nu), ("lam", lam)):
        guards.positive(name, scale)
    if v0 is not None:
        guards.within("v0", v0, f"[0, {v1!r})")
    if v1_weight != math.inf:
        guards.positive("v1_weight", v1_weight)
    key = jax.random.key(0) if key is None else key
    guards.check_key("key", key)
    data = standardise(matrix, target, names)
    with jax.enable_x64(True):
        problem = _compress(data, nu, lam)
        hyper = Hyper(*(jnp.asarray(value, float) for value in (a, b, v1, v1_weight)))
        blocks = warmup // BLOCK
        # The slab has its first third to find what is large, or the spike would take it over.
        spike = (0.0, blocks // 3) if v0 is None else (float(v0), blocks)
        host_key, run_key = jax.random.split(key)
        # What XLA would take seconds to compile is drawn outside it.
        rng = np.random.default_rng(np.asarray(jax.random.bits(host_key, (4,), jnp.uint32)))
        shape = ((warmup + num_draws) // BLOCK, num_chains, BLOCK)
        run = _program(num_chains, blocks, thinning)
        chain, totals, snapshots = jax.device_get(
            run(
                problem,
                hyper,
                _starts(rng, num_chains, *matrix.shape),
                tuple(jnp.asarray(value) for value in spike),
                rng.gamma(0.5 * float(problem.degrees), size=shape),
                run_key,
            )
        )
    fit = _collect(data, names, level, chain, totals, snapshots)._replace(named=named)
    return interpret(fit, data.x, np.ones(len(names)), encoding)


def _compress(data: Standardised, nu: float, lam: float) -> Problem:
    """Put the data into at most p rows that say the same of the coefficients."""
    n, p = data.x.shape
    x, y, rest = data.x, data.y, nu * lam
    if n > p:
        rotation, x = np.linalg.qr(x)
        y = rotation.T @ y
        rest += max(float(data.y @ data.y - y @ y), 0.0)
    # Centring has taken one degree of freedom.
    return Problem(*(jnp.asarray(part, float) for part in (x, y, rest, n - 1.0 + nu)))


def _starts(rng: np.random.Generator, chains: int, n: int, p: int) -> np.ndarray:
    """Sets of columns to start from, bool[chains, p]: none and a random few, in turn."""
    starts = np.zeros((chains, p), bool)
    for included in starts[1::2]:
        included[rng.choice(p, size=min(10, p, max(1, n // 4)), replace=False)] = True
    return starts


@functools.lru_cache(maxsize=8)
def _program(chains: int, warmup: int, thinning: int) -> Callable[..., Any]:
    """Compile the run: `(problem, hyper, starts, spike, chi, key) -> (chain, totals, snapshots)`.

    `spike` is v0 to begin with, and the first block in which it is learned. `chi` is
    f64[blocks, chains, draws in a block]. The totals are those of the blocks after the warm-up and
    lead with the chains; the snapshots are shaped as `chi`.
    """

    @jax.jit
    def run(
        problem: Problem,
        hyper: Hyper,
        starts: jax.Array,
        spike: tuple[Any, Any],
        chi: jax.Array,
        key: PRNGKey,
    ) -> tuple[Chain, Totals, Snapshot]:
        gain = robbins_monro(1.0, 2.0)

        def step(chain: Chain, own: Any) -> tuple[Chain, tuple[Totals, Snapshot]]:
            number, chi = own
            keys = jax.random.split(jax.random.fold_in(key, number), chains)
            chain, totals, snapshots = jax.vmap(
                lambda chain, key, chi: block(problem, chain, key, chi, flips=thinning)
            )(chain, keys, chi)
            omega = jnp.where(number < warmup, gain(number), 0.0)
            late = number - spike[1]
            omega_v0 = jnp.where((number < warmup) & (late >= 0), gain(jnp.maximum(late, 0)), 0.0)
            return adapt(problem, hyper, chain, totals, omega, omega_v0), (totals, snapshots)

        delta = hyper.a / (hyper.a + hyper.b + problem.x.shape[1])
        chain = jax.vmap(lambda included: start(problem, included, delta, hyper.v1, spike[0]))(
            starts
        )
        chain, (totals, snapshots) = jax.lax.scan(step, chain, (jnp.arange(len(chi)), chi))
        totals, snapshots = jax.tree.map(lambda leaf: leaf[warmup:], (totals, snapshots))
        return chain, jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), totals), snapshots

    return run


def _collect(
    data: Standardised,
    names: tuple[str, ...],
    level: float,
    chain: Chain,
    totals: Totals,
    snapshots: Snapshot,
) -> Regression:
    """Average, and put back into the units of the data."""
    unit = data.y_scale / data.x_scale
    time, rho, included, beta, beta_if_included, sigmas = map(_by_chain, snapshots)
    tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    # A chain counts by itself, not by how long its states stayed.
    share = totals.time[:, None]
    inclusion = np.mean(totals.rho / share, axis=0)
    slab = np.mean(totals.beta / share, axis=0)
    coefficients = slab + np.mean(totals.small / share, axis=0)
    picks = np.stack([_resample(own) for own in time])
    draws = np.take_along_axis(beta, picks[..., None], axis=1) * unit.astype(np.float32)
    models = np.take_along_axis(included, picks[..., None], axis=1)
    sigma = np.take_along_axis(sigmas, picks, axis=1)
    weights = (time / time.sum(axis=1, keepdims=True))[..., None] * rho
    p = len(unit)
    given = _weighted_quantile(beta_if_included.reshape(-1, p), weights.reshape(-1, p), tails)
    chosen = draws.reshape(-1, p)
    intercepts = data.y_mean - np.matmul(draws, data.x_mean)
    return Regression(
        names=names,
        intercept=float(data.y_mean - (coefficients * unit) @ data.x_mean),
        coefficients=coefficients * unit,
        inclusion=inclusion,
        coefficients_if_included=slab / inclusion * unit,
        interval_if_included=given.T * unit[:, None],
        interval_averaged=np.quantile(chosen, tails, axis=0).T.astype(np.float64),
        level=level,
        sigma=float(sigma.mean()) * data.y_scale,
        r_hat=_r_hat(np.take_along_axis(rho, picks[..., None], axis=1)),
        r_hat_sigma=float(_r_hat(sigma)),
        draws=draws,
        intercept_draws=intercepts,
        sigma_draws=sigma * data.y_scale,
        delta=float(chain.delta[0]),
        v1=float(chain.v1[0]),
        v0=float(chain.v0[0]),
        included_draws=models,
    )


def _r_hat(draws: np.ndarray) -> np.ndarray:
    """Split R-hat; 1 where all draws are the same, inf where each chain has stopped at its own."""
    r_hat = np.asarray(potential_scale_reduction(draws), np.float64)
    same = np.ptp(draws, axis=(0, 1)) == 0
    return np.where(same, 1.0, np.where(np.isnan(r_hat), np.inf, r_hat))


def _by_chain(leaf: Any) -> np.ndarray:
    """Bring [blocks, chains, draws in a block, ...] into [chains, draws, ...]."""
    array = np.moveaxis(np.asarray(leaf), 1, 0)
    return array.reshape(len(array), -1, *array.shape[3:])


def _resample(weights: np.ndarray) -> np.ndarray:
    """Indices of as many draws of equal weight, i64[draws], by even spacing over the weights."""
    heights = np.cumsum(weights / weights.sum())
    places = (np.arange(len(weights)) + 0.5) / len(weights)
    return np.minimum(np.searchsorted(heights, places), len(weights) - 1)


def _weighted_quantile(values: np.ndarray, weights: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Quantiles of each column, f64[tails, p]: the least value with that share of the weight."""
    order = np.argsort(values, axis=0)
    heights = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0, dtype=np.float64)
    heights /= heights[-1]
    rows = np.stack([np.sum(heights < tail, axis=0) for tail in tails])
    rows = np.minimum(rows, len(values) - 1)
    return np.take_along_axis(np.take_along_axis(values, order, axis=0), rows, axis=0).astype(
        np.float64
    )
