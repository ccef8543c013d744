# SPDX-License-Identifier: Apache-2.0
"""SGLD under the spike-and-slab prior on many regressions at once, in one compiled loop.

A cell is an arm at its v0 and its starting sigma. The cells of a data set share its start and its
noise, so that one draw serves them all and X beta of all of them is one matrix product; data sets
are mapped over outside.

A step is that of `aeb.build_kernel`, put together from `algorithm.transition`. The residuals
y - X beta at the new position, which the sweep of the latents needs, are carried to the next step,
whose gradient X'(y - X beta) needs them too: two products with X, where the kernel does three.

What is averaged over draws is averaged on the way, by Welford's recursion for mean m and sum of
squares s about it,

    d = beta - m,   m <- m + d / k,   s <- s + d (beta - m)

at the k-th draw that counts. Kept whole are the first coefficients at each draw, and all
coefficients at a few draws evenly spread, for the intervals.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb
from aeb.kernel import step_keys
from benchmarks.simulation.design import DataSet, Design, data_key, draw
from benchmarks.simulation.recipe import GAINS, Cell, Recipe

LEAF = ""
"""The path of a bare array of coefficients."""


class Carry(NamedTuple):
    """The chains of D data sets and C cells, and what is gathered from them.

    K draws count, R of them are kept whole.
    """

    chain: aeb.State  # leads with D, C everywhere
    residual: jax.Array  # f32[D, C, n]: y - X beta
    mean: jax.Array  # f32[D, C, p]: running mean of beta, m
    square: jax.Array  # f32[D, C, p]: running sum of squares about it, s
    rho: jax.Array  # f32[D, C, p]: running mean of rho
    sigma: jax.Array  # f32[D, C]: running mean of sigma
    signals: jax.Array  # f32[K, D, C, number of signals]: the first coefficients at each draw
    whole: jax.Array  # f32[R, D, C, p]


class Programs(NamedTuple):
    """What is compiled for a design, a recipe and cells.

    Attributes:
        start: `seeds -> (data, keys, carry)`, all leading with D.
        step: `(chain, residual, data, keys) -> (chain, residual)`, one step of every chain.
        advance: `(carry, data, keys, draws) -> carry`, after `draws` times `thinning` steps. The
            carry it is given is used up.
    """

    start: Callable[..., tuple[DataSet, jax.Array, Carry]]
    step: Callable[..., tuple[aeb.State, jax.Array]]
    advance: Callable[..., Carry]


@functools.lru_cache(maxsize=16)
def build(design: Design, recipe: Recipe, cells: tuple[Cell, ...]) -> Programs:
    v0 = jnp.asarray([cell.v0 or 1.0 for cell in cells], float)  # at gain 0 nothing reads it
    sigma = jnp.asarray([cell.sigma for cell in cells], float)
    gain = jnp.asarray([GAINS[cell.arm] for cell in cells], float)

    def step(
        chain: aeb.State, residual: jax.Array, data: DataSet, keys: jax.Array
    ) -> tuple[aeb.State, jax.Array]:
        def one(chain: aeb.State, residual: jax.Array, data: DataSet, key: jax.Array) -> Any:
            noise_key, _, _ = step_keys(jax.random.fold_in(key, chain.step[0]))

            def cell(v0: Any, gain: Any, chain: aeb.State, residual: jax.Array) -> Any:
                chain = _algorithm(design, recipe, v0, 1.0, gain).transition(
                    chain,
                    jnp.matmul(residual, data.x, precision="highest"),
                    noise_key,
                    num_data=len(data.y),
                    rss=lambda beta: jnp.sum(jnp.square(_residual(data, beta))),
                )
                # The same product as in rss, so that XLA does it once.
                return chain, _residual(data, chain.position)

            return jax.vmap(cell)(v0, gain, chain, residual)

        return jax.vmap(one)(chain, residual, data, keys)

    def advance(carry: Carry, data: DataSet, keys: jax.Array, draws: Any) -> Carry:
        def one_draw(_: Any, carry: Carry) -> Carry:
            pair = carry.chain, carry.residual
            chain, residual = jax.lax.fori_loop(
                0, recipe.thinning, lambda _, pair: step(pair[0], pair[1], data, keys), pair
            )
            return _gather(recipe, carry._replace(chain=chain, residual=residual))

        return jax.lax.fori_loop(0, draws, one_draw, carry)

    def begin(seed: jax.Array) -> tuple[DataSet, jax.Array, aeb.State]:
        _, start_key, noise_key = jax.random.split(jax.random.key(seed), 3)
        beta = recipe.start_spread * jax.random.normal(start_key, (design.num_columns,), float)

        def cell(v0: Any, sigma: Any, gain: Any) -> aeb.State:
            return _algorithm(design, recipe, v0, sigma, gain).init(beta)

        return draw(design, data_key(seed)), noise_key, jax.vmap(cell)(v0, sigma, gain)

    def start(seeds: jax.Array) -> tuple[DataSet, jax.Array, Carry]:
        data, keys, chain = jax.vmap(begin)(seeds)
        blank = jnp.zeros_like(chain.position)
        signals = blank[..., : len(design.signals)]
        carry = Carry(
            chain=chain,
            residual=jax.vmap(jax.vmap(_residual, in_axes=(None, 0)))(data, chain.position),
            mean=blank,
            square=blank,
            rho=blank,
            sigma=jnp.zeros_like(chain.latent.sigma),
            signals=jnp.zeros((recipe.kept, *signals.shape), blank.dtype),
            whole=jnp.zeros((recipe.interval_draws, *blank.shape), blank.dtype),
        )
        return data, keys, carry

    options = aeb.compiler_options()
    compiled = jax.jit(advance, donate_argnums=0, compiler_options=options)
    return Programs(jax.jit(start), step, compiled)


def _residual(data: DataSet, beta: jax.Array) -> jax.Array:
    return data.y - jnp.matmul(data.x, beta, precision="highest")


def _algorithm(design: Design, recipe: Recipe, v0: Any, sigma: Any, gain: Any) -> aeb.Algorithm:
    prior = aeb.spike_slab(
        v0,
        recipe.v1,
        a=recipe.a,
        b=float(design.num_columns) if recipe.b is None else recipe.b,
        nu=recipe.nu,
        lam=recipe.lam,
        kappa0=recipe.kappa0,
        kappa1=recipe.kappa1,
        sigma=sigma,
    )
    return aeb.empirical_bayes(
        aeb.sgld(recipe.step_size_at, recipe.temperature),
        prior,
        gain=lambda count: jnp.clip(recipe.gain_at(count), gain[0], gain[1]),
        likelihood="gaussian",
    )


def _gather(recipe: Recipe, carry: Carry) -> Carry:
    """Take the position into the averages and the draws, if it counts."""
    chain = carry.chain
    number = chain.step[0, 0] // recipe.thinning - recipe.discarded
    # Before the first draw that counts the weight is 0, and the row written to is row 0, which
    # the first draw overwrites.
    row = jnp.maximum(number, 1) - 1
    weight = jnp.where(number > 0, 1.0 / (1.0 + row.astype(float)), 0.0)
    counts = (number > 0).astype(weight.dtype)
    gap = chain.position - carry.mean
    mean = carry.mean + weight * gap
    count = carry.signals.shape[-1]
    return carry._replace(
        mean=mean,
        square=carry.square + counts * gap * (chain.position - mean),
        rho=carry.rho + weight * (chain.latent.rho[LEAF] - carry.rho),
        sigma=carry.sigma + weight * (chain.latent.sigma - carry.sigma),
        signals=carry.signals.at[row].set(chain.position[..., :count]),
        whole=carry.whole.at[row * recipe.interval_draws // recipe.kept].set(chain.position),
    )
