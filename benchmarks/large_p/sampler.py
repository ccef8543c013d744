# SPDX-License-Identifier: Apache-2.0
"""SGLD under the spike-and-slab prior on many regressions at once, in one compiled loop.

Data sets are mapped over by `jax.vmap`. What is averaged over draws is averaged on the way, by
Welford's recursion for mean m and sum of squares s about it,

    d = beta - m,   m <- m + d / k,   s <- s + d (beta - m)

at the k-th draw that counts. Kept whole are the first coefficients at each draw, and all
coefficients at a few draws evenly spread, for the intervals.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb
from aeb.types import Kernel
from large_p.design import DataSet, Design, draw
from large_p.recipe import Recipe

__all__ = ["Carry", "Programs", "build", "half_mean_squared_error"]

LEAF = ""
"""The path of a bare array of coefficients."""


class Carry(NamedTuple):
    """The chains of D data sets and what is gathered from them; K draws count, R are kept whole."""

    chain: aeb.State  # leads with D everywhere
    mean: jax.Array  # f32[D, p]: running mean of beta, m
    square: jax.Array  # f32[D, p]: running sum of squares about it, s
    rho: jax.Array  # f32[D, p]: running mean of rho
    sigma: jax.Array  # f32[D]: running mean of sigma
    signals: jax.Array  # f32[K, D, number of signals]: the first coefficients at each draw
    whole: jax.Array  # f32[R, D, p]


class Programs(NamedTuple):
    """What is compiled for a design, a recipe, an arm and v0.

    Attributes:
        start: `(seeds, sigma) -> (data, keys, carry)`, all leading with D.
        advance: `(carry, data, keys, draws) -> carry`, after `draws` times `thinning` steps. The
            carry it is given is used up.
        kernel: one step of one chain.
    """

    start: Callable[..., tuple[DataSet, jax.Array, Carry]]
    advance: Callable[..., Carry]
    kernel: Kernel


def half_mean_squared_error(beta: jax.Array, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The loss of a regression, sigma left out."""
    x, y = batch
    return 0.5 * jnp.mean(jnp.square(y - jnp.matmul(x, beta, precision="highest")))


@functools.lru_cache(maxsize=16)
def build(design: Design, recipe: Recipe, arm: str, v0: float | None) -> Programs:
    """Make the programs.

    Args:
        design: what the data are drawn from.
        recipe: how the sampler is set.
        arm: one of `ARMS`.
        v0: scale of the spike; None for the arm whose prior stays as it starts.

    Returns:
        `Programs`.
    """
    # The steps read sigma from the state; and at gain 0 nothing reads v0.
    algorithm = _algorithm(design, recipe, arm, 1.0 if v0 is None else v0, 1.0)
    kernel = aeb.build_kernel(algorithm, half_mean_squared_error, num_data=design.num_rows)

    def step(chain: aeb.State, batch: Any, keys: jax.Array) -> aeb.State:
        return jax.vmap(kernel)(chain, batch, jax.vmap(jax.random.fold_in)(keys, chain.step))

    def advance(carry: Carry, data: DataSet, keys: jax.Array, draws: Any) -> Carry:
        batch = (data.x, data.y)

        def one_draw(_: Any, carry: Carry) -> Carry:
            chain = jax.lax.fori_loop(
                0, recipe.thinning, lambda _, chain: step(chain, batch, keys), carry.chain
            )
            return _gather(recipe, carry._replace(chain=chain))

        return jax.lax.fori_loop(0, draws, one_draw, carry)

    return Programs(_start(design, recipe), jax.jit(advance, donate_argnums=0), kernel)


@functools.lru_cache(maxsize=16)
def _start(design: Design, recipe: Recipe) -> Callable[..., tuple[DataSet, jax.Array, Carry]]:
    """Make the program that draws the data and the starts, the same for every arm."""

    def one(seed: jax.Array, sigma: jax.Array) -> tuple[DataSet, jax.Array, aeb.State]:
        data_key, start_key, noise_key = jax.random.split(jax.random.key(seed), 3)
        beta = jax.random.normal(start_key, (design.num_columns,), float)
        # Neither the arm nor v0 touches the start, for kappa0 and kappa1 are given.
        chain = _algorithm(design, recipe, "sa", 1.0, sigma).init(recipe.start_spread * beta)
        return draw(design, data_key), noise_key, chain

    def start(seeds: jax.Array, sigma: jax.Array) -> tuple[DataSet, jax.Array, Carry]:
        data, keys, chain = jax.vmap(one, in_axes=(0, None))(seeds, sigma)
        blank = jnp.zeros_like(chain.position)
        signals = blank[:, : len(design.signals)]
        carry = Carry(
            chain=chain,
            mean=blank,
            square=blank,
            rho=blank,
            sigma=jnp.zeros_like(chain.latent.sigma),
            signals=jnp.zeros((recipe.kept, *signals.shape), blank.dtype),
            whole=jnp.zeros((recipe.interval_draws, *blank.shape), blank.dtype),
        )
        return data, keys, carry

    return jax.jit(start)


def _algorithm(design: Design, recipe: Recipe, arm: str, v0: float, sigma: Any) -> aeb.Algorithm:
    """Put an arm together."""
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
    dynamics = aeb.sgld(recipe.step_size_at, recipe.temperature)
    return aeb.empirical_bayes(dynamics, prior, gain=recipe.gain_of(arm), likelihood="gaussian")


def _gather(recipe: Recipe, carry: Carry) -> Carry:
    """Take the position into the averages and the draws, if it counts."""
    chain = carry.chain
    number = chain.step[0] // recipe.thinning - recipe.discarded
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
        signals=carry.signals.at[row].set(chain.position[:, :count]),
        whole=carry.whole.at[row * recipe.interval_draws // recipe.kept].set(chain.position),
    )
