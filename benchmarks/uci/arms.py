# SPDX-License-Identifier: Apache-2.0
"""The authors' arms and the recommended one, put together from the library.

The authors' energy is

    U = (N / n) sum_batch (y - f(x))^2 + kappa0 |w|_1 / sigma + kappa1 |w|^2 / (2 sigma^2)
        + 1e-4 |rest|^2 / 2

so the noise of the likelihood is fixed (its variance is 1/2), while sigma scales the prior alone.
Yet the update of sigma takes the sum of squares in, as for a sigma that is the noise. The library's
Gaussian likelihood has 1 / (2 sigma^2) before the sum of squares; here its gradient is multiplied
by 2 sigma^2 to get theirs.

The arms without a learned prior have the gain 0, kappa0 = 0, kappa1 = 1e-4 and sigma = 1, which is
that L2 penalty on all weights; so one program serves all six.

The recommended setting has a Gaussian likelihood whose noise is learned, and several chains. Its
features are standardised, the target is centred and brought to a standard deviation of 10, and the
energy is the paper's,

    U = sum (y - f(x))^2 / (2 sigma^2) + kappa0 |w|_1 / sigma + kappa1 |w|^2 / (2 sigma^2)

with flat biases. Its curvature grows as N / sigma^2, and sigma is 10 at the start and may end at
0.3; so the step size of SGHMC is eps_k = h sigma_k^2 / N, which makes h the learning rate of
momentum SGD on half the mean squared error, whatever the set.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb
from aeb.kernel import log_likelihood_grad, residual_sum_of_squares
from aeb.models import MLP, make_loss
from benchmarks.uci.recipe import ARMS, TEMPERS, ArmName, Poster, Recommended
from benchmarks.uci.sampler import OneChain


class Numbers(NamedTuple):
    """The numbers that tell the arms and the sets apart, all f32[]."""

    v0: Any
    temperature: Any  # at the start
    anneal: Any  # what it is divided by after each step
    lowest_gain: Any
    highest_gain: Any
    kappa0: Any  # at the start
    sigma: Any  # at the start


def numbers_of(name: str, arm: ArmName, recipe: Poster) -> Numbers:
    inverse_temperature, v0 = TEMPERS[name]
    chosen = ARMS[arm]
    values = (
        v0,
        1.0 / inverse_temperature,
        recipe.anneal if chosen.anneal else 1.0,
        *chosen.gains,
        recipe.kappa if chosen.learns else 0.0,
        recipe.sigma if chosen.learns else 1.0,
    )
    return Numbers(*(jnp.asarray(value, jnp.float32) for value in values))


@functools.lru_cache(maxsize=8)
def poster_chain(recipe: Poster) -> OneChain:
    """Build a chain of the authors' arms, whose numbers are `Numbers`."""
    loss_fn = make_loss(MLP(hidden=(recipe.hidden,)), likelihood="gaussian")
    falling = aeb.robbins_monro(1.0, recipe.gain_offset, recipe.gain_exponent)

    def algorithm(numbers: Numbers) -> aeb.Algorithm:
        dynamics = aeb.sghmc(
            recipe.step_size,
            recipe.friction,
            aeb.annealing(numbers.temperature, factor=numbers.anneal),
            noise_estimate=recipe.step_size / 2,
        )
        prior = aeb.spike_slab(
            numbers.v0,
            recipe.v1,
            a=recipe.a,
            b=recipe.b,
            nu=recipe.nu,
            lam=recipe.lam,
            sigma0=recipe.kappa**-0.5,
            kappa0=numbers.kappa0,
            kappa1=recipe.kappa,
            sigma=numbers.sigma,
        )
        return aeb.empirical_bayes(
            dynamics,
            prior,
            gain=lambda count: jnp.clip(falling(count), numbers.lowest_gain, numbers.highest_gain),
            likelihood="gaussian",
        )

    def step(
        numbers: Numbers, state: aeb.State, batch: Any, key: jax.Array, num_data: int
    ) -> aeb.State:
        loss, grad = jax.value_and_grad(loss_fn)(state.position, batch)
        twice_variance = 2.0 * jnp.square(state.latent.sigma)
        grad = jax.tree.map(lambda g: twice_variance * g, log_likelihood_grad(grad, num_data))
        return algorithm(numbers).transition(
            state,
            grad,
            key,
            num_data=num_data,
            rss=lambda _: residual_sum_of_squares(loss, num_data),
            loss=loss,
        )

    return OneChain(lambda numbers, params: algorithm(numbers).init(params), step)


class Setting(NamedTuple):
    """The numbers of the setting that no shape depends on, all f32[]."""

    v0: Any
    v1: Any
    learning_rate: Any
    temperature: Any
    target_scale: Any


def setting_of(recipe: Recommended) -> Setting:
    return Setting(*(jnp.asarray(getattr(recipe, name), jnp.float32) for name in Setting._fields))


@functools.lru_cache(maxsize=8)
def recommended_chain(recipe: Recommended) -> OneChain:
    """Build a chain of the recommended arm, whose numbers are a `Setting`."""
    loss_fn = make_loss(MLP(hidden=(recipe.hidden,)), likelihood="gaussian")
    gain = aeb.robbins_monro(recipe.gain_coefficient, recipe.gain_offset, recipe.gain_exponent)

    def algorithm(setting: Setting) -> aeb.Algorithm:
        # The step size is given below.
        dynamics = aeb.sghmc(1.0, recipe.friction, setting.temperature)
        prior = aeb.spike_slab(
            setting.v0,
            setting.v1,
            a=recipe.a,
            b=recipe.b,
            kappa0=None,
            sigma=setting.target_scale,
        )
        return aeb.empirical_bayes(dynamics, prior, gain=gain, likelihood="gaussian")

    def step(
        setting: Setting, state: aeb.State, batch: Any, key: jax.Array, num_data: int
    ) -> aeb.State:
        kernel = aeb.build_kernel(algorithm(setting), loss_fn, num_data=num_data, exact_rss=False)
        step_size = setting.learning_rate * jnp.square(state.latent.sigma) / num_data
        return kernel(state, batch, key, step_size=step_size)

    return OneChain(lambda setting, params: algorithm(setting).init(params), step)
