# SPDX-License-Identifier: Apache-2.0
"""A Gaussian prior whose precision is learned, one for each leaf (automatic relevance).

    beta_lj ~ N(0, 1 / lambda_l),   lambda_l ~ Gamma(a, rate b),   sigma^2 ~ IG(nu/2, nu lam/2)

Other leaves have a flat prior. Each latent moves towards its mode given the weights. For sigma that
is the mode of log sigma, as in the regression of the paper:

    lambda~_l = (p_l / 2 + a - 1) / (sum_j beta_lj^2 / 2 + b)
    sigma~    = sqrt((I + nu lam) / (N + nu))        with a Gaussian likelihood only

Copy this file to write a prior of your own.
Reference: MacKay, Neural Computation 4 (1992), for the empirical Bayes treatment of lambda.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.precision import working_dtype
from aeb.priors.leafwise import leafwise_prior
from aeb.stochastic_approximation import approximate
from aeb.types import ArrayTree, Prior, Where

__all__ = ["GaussianLatent", "gaussian"]


class GaussianLatent(NamedTuple):
    """The latents of the Gaussian prior.

    Example:
        >>> latent = gaussian(precision=2.0).init({"kernel": jnp.ones(3)})
        >>> {path: float(value) for path, value in latent.precision.items()}
        {'kernel': 2.0}
    """

    precision: dict[str, jax.Array]  # f32[] for each leaf path: lambda_l, 1 / variance
    sigma: jax.Array  # f32[]: scale of the noise, learned only in a regression


def gaussian(
    precision: float = 1.0,
    *,
    where: Where = None,
    a: float = 1.0,
    b: float = 1e-3,
    nu: float = 1.0,
    lam: float = 1.0,
    sigma: float = 1.0,
) -> Prior:
    """Build a Gaussian prior with a learned precision for each leaf.

    Args:
        precision: starting value of lambda, > 0, in 1 / weight^2.
        where: the leaves that have this prior: a regular expression that is searched in the path, a
            function `(path, leaf) -> bool`, or None for all leaves except those named bias or
            scale.
        a: shape of the Gamma prior of lambda, >= 1.
        b: rate of the Gamma prior of lambda, > 0. It keeps lambda finite if all weights of a leaf
            are 0.
        nu: degrees of freedom of the prior of sigma^2, > 0.
        lam: scale of the prior of sigma^2, > 0.
        sigma: starting scale of the noise, > 0.

    Returns:
        A `Prior` whose latent is a `GaussianLatent`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> prior = gaussian(precision=2.0)
        >>> float(prior.log_density(jnp.ones(3), prior.init(jnp.ones(3))))
        -3.0
    """
    for name, value in (("precision", precision), ("b", b), ("nu", nu), ("lam", lam)):
        guards.positive(name, value)
    guards.positive("sigma", sigma)
    guards.at_least("a", a, 1.0)

    def density(beta: jax.Array, value: jax.Array) -> jax.Array:
        return -(0.5 * value * jnp.sum(jnp.square(beta)))

    def target(beta: jax.Array, value: jax.Array) -> jax.Array:
        return (0.5 * beta.size + a - 1.0) / (0.5 * jnp.sum(jnp.square(beta)) + b)

    weights = leafwise_prior(density, target, precision, where)

    def init(params: ArrayTree) -> GaussianLatent:
        start = weights.init(params)
        return GaussianLatent(start, jnp.asarray(sigma, working_dtype(*start.values())))

    def log_density(params: ArrayTree, latent: GaussianLatent) -> jax.Array:
        return weights.log_density(params, latent.precision)

    def update(
        latent: GaussianLatent, params: Any, omega: Any, num_data: Any, rss: Any = None, **_: Any
    ) -> GaussianLatent:
        moved = weights.update(latent.precision, params, omega, num_data)
        if rss is None:
            return GaussianLatent(moved, latent.sigma)
        noise = jnp.sqrt((jnp.asarray(rss, latent.sigma.dtype) + nu * lam) / (num_data + nu))
        return GaussianLatent(moved, approximate(latent.sigma, noise, omega))

    return Prior(init, log_density, update, weights.where, noise_scale=lambda latent: latent.sigma)
