# SPDX-License-Identifier: Apache-2.0
"""The authors' arms, put together from the library.

Their energy is

    U = (N / n) sum_batch (y - f(x))^2 + kappa0 |w|_1 / sigma + kappa1 |w|^2 / (2 sigma^2)
        + 1e-4 |rest|^2 / 2

so the noise of the likelihood is fixed (its variance is 1/2), while sigma scales the prior alone.
Yet the update of sigma takes the sum of squares in, as for a sigma that is the noise. The library's
Gaussian likelihood has 1 / (2 sigma^2) before the sum of squares; here its gradient is multiplied
by 2 sigma^2 to get theirs.

The arms without a learned prior have the gain 0, kappa0 = 0, kappa1 = 1e-4 and sigma = 1, which is
that L2 penalty on all weights; so one program serves all six.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb
from aeb.kernel import log_likelihood_grad, residual_sum_of_squares
from aeb.models import make_loss
from benchmarks.uci.chains import Model, network
from benchmarks.uci.recipe import ARMS, ArmName, Poster, temper

__all__ = ["Cell", "cell_of", "poster_model"]


class Cell(NamedTuple):
    """The numbers that tell the arms and the sets apart, all f32[]."""

    v0: Any
    temperature: Any  # at the start
    anneal: Any  # what it is divided by after each step
    lowest_gain: Any
    highest_gain: Any
    kappa0: Any  # at the start
    sigma: Any  # at the start


def cell_of(name: str, arm: ArmName, recipe: Poster) -> Cell:
    """Gather what is particular to an arm on a set."""
    inverse_temperature, v0 = temper(name)
    chosen = ARMS[arm]
    values = (
        v0,
        1.0 / inverse_temperature,
        recipe.anneal if chosen.anneal else 1.0,
        *chosen.gains,
        recipe.kappa if chosen.learns else 0.0,
        recipe.sigma if chosen.learns else 1.0,
    )
    return Cell(*(jnp.asarray(value, jnp.float32) for value in values))


@functools.lru_cache(maxsize=8)
def poster_model(recipe: Poster) -> Model:
    """Make the model of the authors' arms.

    Args:
        recipe: how they set it.

    Returns:
        A `Model` whose cell is a `Cell`.
    """
    loss_fn = make_loss(network(recipe.hidden), likelihood="gaussian")
    falling = aeb.robbins_monro(1.0, recipe.gain_offset, recipe.gain_exponent)

    def algorithm(cell: Cell) -> aeb.Algorithm:
        dynamics = aeb.sghmc(
            recipe.step_size,
            recipe.friction,
            aeb.annealing(cell.temperature, factor=cell.anneal),
            noise_estimate=recipe.step_size / 2,
        )
        prior = aeb.spike_slab(
            cell.v0,
            recipe.v1,
            a=recipe.a,
            b=recipe.b,
            nu=recipe.nu,
            lam=recipe.lam,
            sigma0=recipe.kappa**-0.5,
            kappa0=cell.kappa0,
            kappa1=recipe.kappa,
            sigma=cell.sigma,
        )
        return aeb.empirical_bayes(
            dynamics,
            prior,
            gain=lambda count: jnp.clip(falling(count), cell.lowest_gain, cell.highest_gain),
            likelihood="gaussian",
        )

    def init(cell: Cell, params: Any) -> aeb.State:
        return algorithm(cell).init(params)

    def step(cell: Cell, state: aeb.State, batch: Any, key: jax.Array, num_data: int) -> aeb.State:
        loss, grad = jax.value_and_grad(loss_fn)(state.position, batch)
        twice_variance = 2.0 * jnp.square(state.latent.sigma)
        grad = jax.tree.map(lambda g: twice_variance * g, log_likelihood_grad(grad, num_data))
        new = algorithm(cell).transition(
            state,
            grad,
            key,
            num_data=num_data,
            rss=lambda _: residual_sum_of_squares(loss, num_data),
        )
        return new._replace(loss=loss)

    return Model(init, step)
