# SPDX-License-Identifier: Apache-2.0
"""The recommended setting: a Gaussian likelihood whose noise is learned, several chains averaged.

Features are standardised, the target is centred and brought to a standard deviation of 10, and the
energy is the paper's,

    U = sum (y - f(x))^2 / (2 sigma^2) + kappa0 |w|_1 / sigma + kappa1 |w|^2 / (2 sigma^2)

with flat biases. Its curvature grows as N / sigma^2, and sigma is 10 at the start and may end at
0.3; so the step size of SGHMC is eps_k = h sigma_k^2 / N, which makes h the learning rate of
momentum SGD on half the mean squared error, whatever the set.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb
from aeb.models import make_loss
from benchmarks.harness import check
from benchmarks.uci.chains import Model, Shape, network

__all__ = ["Recommended", "Setting", "recommended_model", "setting_of"]


@dataclasses.dataclass(frozen=True)
class Recommended:
    """How the recommended arm is set, alike for all sets."""

    hidden: int = 50
    """Hidden units."""
    chains: int = 8
    """Chains of each split, whose draws are pooled."""
    batch_size: int = 100
    """Rows of a minibatch; all rows where there are no more."""
    draws: int = 60
    """Draws of each chain."""
    thinning: int = 50
    """Steps from draw to draw, about: whole epochs, one at least."""
    burn_in: float = 0.5
    """Share of the draws that are left out, in [0, 1)."""
    learning_rate: float = 0.01
    """h > 0."""
    friction: float = 0.1
    """alpha of SGHMC, in (0, 1]."""
    temperature: float = 1.0
    """Temperature, >= 0; 1 samples the posterior."""
    target_scale: float = 10.0
    """Standard deviation that the target is brought to, > 0. The larger, the smaller is the start
    beside what the network has to grow to."""
    v0: float = 1.0
    """Scale of the spike in units of sigma."""
    v1: float = 100.0
    """Variance of the slab in units of sigma^2."""
    a: float = 2.0
    """First parameter of the Beta prior of delta."""
    b: float = 2.0
    """Second parameter of it."""
    gain_coefficient: float = 1.0
    """C in the gain C (A + k)^-alpha."""
    gain_offset: float = 100.0
    """A, in steps."""
    gain_exponent: float = 0.7
    """alpha, in (0.5, 1]."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(
            self,
            whole={1: "hidden chains batch_size draws thinning"},
            positive="learning_rate target_scale v0 v1 gain_coefficient",
            at_least={0.0: "temperature gain_offset", 1.0: "a b"},
            within={"[0, 1)": "burn_in", "(0, 1]": "friction", "(0.5, 1]": "gain_exponent"},
        )

    def shape(self, num_data: int) -> Shape:
        """Tell how long the chains are with so many rows to fit."""
        batches = num_data // min(self.batch_size, num_data)
        every = max(1, round(self.thinning / batches))
        burn_in = min(round(self.burn_in * self.draws), self.draws - 1)
        return Shape(self.hidden, self.batch_size, self.chains, every, self.draws, burn_in)


class Setting(NamedTuple):
    """The numbers of the setting that no shape depends on, all f32[]."""

    v0: Any
    v1: Any
    learning_rate: Any
    temperature: Any
    target_scale: Any


def setting_of(recipe: Recommended) -> Setting:
    """Gather these numbers."""
    return Setting(*(jnp.asarray(getattr(recipe, name), jnp.float32) for name in Setting._fields))


@functools.lru_cache(maxsize=8)
def recommended_model(recipe: Recommended) -> Model:
    """Make the model of the recommended arm.

    Args:
        recipe: how it is set.

    Returns:
        A `Model` whose cell is a `Setting`.
    """
    loss_fn = make_loss(network(recipe.hidden), likelihood="gaussian")
    gain = aeb.robbins_monro(recipe.gain_coefficient, recipe.gain_offset, recipe.gain_exponent)

    def algorithm(cell: Setting) -> aeb.Algorithm:
        return aeb.empirical_bayes(
            aeb.sghmc(1.0, recipe.friction, cell.temperature),  # the step size is given below
            aeb.spike_slab(
                cell.v0, cell.v1, a=recipe.a, b=recipe.b, kappa0=None, sigma=cell.target_scale
            ),
            gain=gain,
            likelihood="gaussian",
        )

    def init(cell: Setting, params: Any) -> aeb.State:
        return algorithm(cell).init(params)

    def step(
        cell: Setting, state: aeb.State, batch: Any, key: jax.Array, num_data: int
    ) -> aeb.State:
        kernel = aeb.build_kernel(algorithm(cell), loss_fn, num_data=num_data, exact_rss=False)
        step_size = cell.learning_rate * jnp.square(state.latent.sigma) / num_data
        return kernel(state, batch, key, step_size=step_size)

    return Model(init, step)
