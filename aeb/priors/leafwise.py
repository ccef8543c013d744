# SPDX-License-Identifier: Apache-2.0
"""Build a prior that learns one number for each leaf, from a density and a fixed point.

    log p(beta | theta) = sum over leaves l of log p(beta_l | theta_l)

At each step theta_l moves a fraction omega of the way to `target`: its mode given the weights of
the leaf or, where that has no closed form, what an EM step from the present theta_l would make it.
The prior is flat on leaves that `where` does not choose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from aeb.precision import working_dtype
from aeb.stochastic_approximation import approximate
from aeb.tree import as_where, named_leaves, select
from aeb.types import ArrayTree, Prior, Where

__all__ = ["leafwise_prior"]


def leafwise_prior(
    log_density: Callable[[jax.Array, jax.Array], jax.Array],
    target: Callable[[jax.Array, jax.Array], jax.Array],
    start: float,
    where: Where = None,
) -> Prior:
    """Build a prior from its density and its fixed point for one leaf.

    Args:
        log_density: `(beta, theta) -> f32[]`, in nats up to a constant in beta.
        target: `(beta, theta) -> f32[]`, the value of theta that fits the weights of the leaf
            best. Where that has no closed form, it is an EM step from the present theta.
        start: theta before the first step.
        where: the leaves that have this prior: a regular expression that is searched in the path, a
            function `(path, leaf) -> bool`, or None for all leaves except those named bias or
            scale.

    Returns:
        A `Prior` whose latent is a dict from leaf paths to f32[].

    Example:
        >>> laplace = leafwise_prior(
        ...     lambda beta, rate: -rate * jnp.sum(jnp.abs(beta)),
        ...     lambda beta, rate: beta.size / jnp.sum(jnp.abs(beta)),
        ...     start=1.0,
        ... )
        >>> weights = {"kernel": jnp.array([3.0, -1.0])}
        >>> laplace.update(laplace.init(weights), weights, omega=1.0, num_data=10)
        {'kernel': Array(0.5, dtype=float32)}

        Cauchy weights, whose squared scale has no closed form. Given the old one, E(1 / variance)
        of a weight is 2 / (scale + beta^2), and EM takes the mean of the reweighted squares:

        >>> cauchy = leafwise_prior(
        ...     lambda beta, scale: -jnp.sum(jnp.log1p(jnp.square(beta) / scale)),
        ...     lambda beta, scale: jnp.mean(
        ...         2 * scale / (scale + jnp.square(beta)) * jnp.square(beta)
        ...     ),
        ...     start=7.0,
        ... )
        >>> cauchy.update(cauchy.init(weights), weights, omega=1.0, num_data=10)
        {'kernel': Array(4.8125, dtype=float32)}
    """
    chosen = as_where(where)

    def init(params: ArrayTree) -> dict[str, jax.Array]:
        leaves = select(params, chosen)
        return {path: jnp.asarray(start, working_dtype(leaf)) for path, leaf in leaves.items()}

    def density(params: ArrayTree, latent: dict[str, jax.Array]) -> jax.Array:
        leaves = named_leaves(params)
        total = jnp.zeros((), working_dtype(*latent.values()))
        for path, theta in latent.items():
            total = total + log_density(leaves[path].astype(theta.dtype), theta).astype(total.dtype)
        return total

    def update(
        latent: Any, params: Any, omega: Any, num_data: Any, rss: Any = None, **_: Any
    ) -> Any:
        leaves = named_leaves(params)
        targets = {
            path: target(leaves[path].astype(old.dtype), old) for path, old in latent.items()
        }
        return approximate(latent, targets, omega)

    return Prior(init, density, update, chosen)
