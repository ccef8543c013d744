# SPDX-License-Identifier: Apache-2.0
"""Many chains of SGLD-SA on the problem, in one compiled loop.

The step is that of `aeb.build_kernel`, mapped over chains by `aeb.chains`. A call takes a number of
steps and returns the sums of the test functions over them; they are short enough for sums in
float32, and are added up in double outside.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from benchmarks.convergence.recipe import SIZE, Gain, Theta, TwoMeans, to_vector

LEAF = ""
"""The path of a bare array of coefficients."""


@functools.lru_cache(maxsize=16)
def build(problem: TwoMeans, gain: Gain) -> tuple[Callable[[int], aeb.State], Callable[..., Any]]:
    """Make the programs of a problem and a gain; a change of step size compiles nothing anew.

    Returns:
        `start`, `number of chains -> states`, all alike: coefficients at 0; and `advance`,
        `(states, keys, step_size, steps) -> (states, sums)` where sums, f32[C, 2, 4], are those of
        the test functions over the new positions. The states given are used up.
    """
    algorithm = aeb.empirical_bayes(
        aeb.sgld(1.0), problem.prior(), gain=gain.schedule, likelihood="gaussian"
    )  # the step size is given to each call
    kernel = aeb.build_kernel(algorithm, _loss, num_data=problem.num_data)
    step = aeb.chains(kernel)

    def start(chains: int) -> aeb.State:
        return jax.vmap(algorithm.init)(jnp.zeros((chains, SIZE)))

    def advance(
        states: aeb.State, keys: jax.Array, step_size: Any, steps: Any
    ) -> tuple[aeb.State, jax.Array]:
        rows = jnp.asarray(problem.rows(), states.position.dtype)

        def one(_: Any, carry: tuple[aeb.State, jax.Array]) -> tuple[aeb.State, jax.Array]:
            states, sums = carry
            step_keys = jax.vmap(jax.random.fold_in)(keys, states.step)
            states = step(states, rows, step_keys, step_size=step_size)
            beta = states.position
            size = jnp.abs(beta)
            above = (size > problem.threshold).astype(beta.dtype)
            return states, sums + jnp.stack([beta, beta * beta, size, above], axis=-1)

        blank = jnp.zeros((*states.position.shape, 4), states.position.dtype)
        return jax.lax.fori_loop(0, steps, one, (states, blank))

    return start, jax.jit(advance, donate_argnums=0)


def theta_of(states: aeb.State) -> np.ndarray:
    """Read the latents of all chains in double, f64[C, 8]."""
    latent = states.latent
    arrays = (latent.rho, latent.kappa0, latent.kappa1, latent.delta)
    rho, kappa0, kappa1, delta = (np.asarray(each[LEAF], np.float64) for each in arrays)
    return to_vector(Theta(rho, kappa0, kappa1, delta, np.asarray(latent.sigma, np.float64)))


def _loss(beta: jax.Array, rows: jax.Array) -> jax.Array:
    """Return half the mean squared error."""
    return 0.5 * jnp.mean(jnp.square(rows - beta[None]))
