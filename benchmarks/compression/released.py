# SPDX-License-Identifier: Apache-2.0
"""The authors' sparse stage for ResNet20, put together from the library.

What their code does and the paper does not: the densities in rho leave sigma out, and sigma^2 is
averaged, not sigma. Both are in the prior below. What the library has its own way in, see
`DEPARTURES`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

import aeb
from aeb.priors import SpikeSlabLatent as Latent
from aeb.tree import select
from aeb.types import ArrayTree, Prior, ScalarOrSchedule, Schedule
from benchmarks.compression.recipe import FRICTION, FULL_STEPS, Released, spike_and_slab

SPARSE = r"block.*/conv.*/kernel$"
"""The leaves that the authors make sparse: the 3x3 convolutions in the blocks."""

DEPARTURES = (
    (
        "weights are pruned after rho and before sigma, which so sees them as 0",
        "after both: what has regrown within one step still counts in sigma",
    ),
    ("the threshold is found by bisection to .001", "exactly round(s p) zeros, ties by index"),
    (
        "BatchNorm's running variance is scaled by n / (n - 1)",
        "not; at a batch of 1000 and 64 or more positions less than 2e-5 of it",
    ),
    ("float32 and PyTorch's generators", "bfloat16 in the network on a GPU; other random numbers"),
    (
        "v0 and v1 are given for 30, 50, 70 and 90 % alone",
        "those of the nearest of these elsewhere",
    ),
)
"""What the authors' code does, and what is done here in its place."""


def leaf_sparsity(sparsity: float, params: ArrayTree) -> float:
    """Return the share of zeros in each sparse leaf, floored to three digits as the authors do."""
    part = sum(leaf.size for leaf in select(params, SPARSE).values())
    whole = sum(leaf.size for leaf in jax.tree.leaves(params))
    return math.floor(1000 * sparsity * whole / part) / 1000


def released_step_size(recipe: Released, steps: int) -> Schedule:
    """Make the step size: constant, and a tenth after each of two shares of the run."""
    first = recipe.step_size * FULL_STEPS / steps

    def step_size(count: Any) -> Any:
        value: Any = first
        for share in recipe.falls:
            value = value * jnp.where(jnp.asarray(count, float) >= share * steps, 0.1, 1.0)
        return value

    return step_size


def released_temperature(recipe: Released, epochs: int, epoch_steps: int, anneal: bool) -> Any:
    """Make the temperature: constant, or divided after each epoch."""
    start = 1.0 / recipe.inverse_temperature
    if not anneal:
        return start
    return aeb.annealing(start, factor=recipe.anneal ** (1000 / epochs), every=epoch_steps)


def released_algorithm(
    recipe: Released,
    params: ArrayTree,
    *,
    sparsity: float,
    gain: str,
    anneal: bool,
    epochs: int,
    epoch_steps: int,
) -> tuple[aeb.Algorithm, Schedule, ScalarOrSchedule]:
    """Put an arm together, with its step size and its temperature.

    The sparsity is over all parameters; the gain is "zero" (SGHMC), "one" (EM) or "falling" (SA).
    """
    steps = epochs * epoch_steps
    share = steps / FULL_STEPS
    # The same sum over the run: omega(k) dk of the full run at k / share.
    falling = aeb.robbins_monro(
        recipe.gain_coefficient * share ** (recipe.gain_exponent - 1.0),
        recipe.gain_offset * share,
        recipe.gain_exponent,
    )
    gains: dict[str, ScalarOrSchedule] = {"zero": 0.0, "one": 1.0, "falling": falling}
    ramp = aeb.sparsity_ramp(leaf_sparsity(sparsity, params), every=recipe.ramp_every * share)
    step_size = released_step_size(recipe, steps)
    temperature = released_temperature(recipe, epochs, epoch_steps, anneal)

    algorithm = aeb.empirical_bayes(
        aeb.sghmc(
            step_size, FRICTION, temperature, noise_estimate=lambda count: step_size(count) / 2
        ),
        released_prior(recipe, params, *spike_and_slab(sparsity)),
        gain=gains[gain],
        sparsify=aeb.magnitude(ramp, scope="leaf"),
    )
    return algorithm, step_size, temperature


def released_prior(recipe: Released, params: ArrayTree, v0: float, v1: float) -> Prior:
    """Make the authors' prior: densities without sigma, and sigma^2 averaged."""
    count = sum(leaf.size for leaf in select(params, SPARSE).values())
    nu, beta = recipe.nu * count, recipe.beta * count
    of_library = aeb.spike_slab(
        v0,
        v1,
        where=SPARSE,
        a=max(beta, 1.0),
        b=max(beta, 1.0),
        nu=nu,
        lam=recipe.lam,
        sigma0=(recipe.weight_decay * recipe.num_data) ** -0.5,
        kappa0=recipe.weight_decay,
        kappa1=recipe.weight_decay,
        learn_sigma=False,
    )

    def update(
        latent: Latent, params: Any, omega: Any, num_data: Any, rss: Any = None, kept: Any = None
    ) -> Latent:
        del kept  # the authors' rate follows no ramp
        unit = latent._replace(sigma=jnp.ones_like(latent.sigma))
        new: Latent = of_library.update(unit, params, omega, num_data, rss)
        leaves = select(params, SPARSE)
        linear = sum(jnp.sum(new.kappa0[path] * jnp.abs(w)) for path, w in leaves.items())
        square = sum(jnp.sum(new.kappa1[path] * jnp.square(w)) for path, w in leaves.items())
        leading = count + nu + 2.0
        root = jnp.hypot(linear, 2.0 * jnp.sqrt(leading * (square + nu * recipe.lam)))
        target = (linear + root) / (2.0 * leading)
        mixed = (1.0 - omega) * jnp.square(latent.sigma) + omega * jnp.square(target)
        return new._replace(sigma=jnp.sqrt(mixed))

    return of_library._replace(update=update)
