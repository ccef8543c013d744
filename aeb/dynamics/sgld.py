# SPDX-License-Identifier: Apache-2.0
"""Stochastic gradient Langevin dynamics (Welling and Teh, ICML 2011).

One step is an Euler-Maruyama step of the diffusion that leaves p(beta | D)^(1/T) invariant:

    beta' = beta + eps * g + sqrt(2 * eps * T) * xi,    xi ~ N(0, I)

g estimates grad log p(beta | D), in nats summed over the data set. T = 0 is plain gradient ascent.
On a Gaussian of unit precision the chain has the variance T / (1 - eps / 2).
"""

from __future__ import annotations

from typing import Any

from aeb.dynamics.leafwise import langevin, leafwise_sampler
from aeb.types import Dynamics, ScalarOrSchedule

__all__ = ["sgld"]


def sgld(
    step_size: ScalarOrSchedule | None = None,
    temperature: ScalarOrSchedule = 1.0,
    *,
    learning_rate: ScalarOrSchedule | None = None,
) -> Dynamics:
    """Build Langevin dynamics without momentum.

    Args:
        step_size: eps > 0, or a schedule from the number of steps taken to eps.
        temperature: T >= 0, or a schedule. T = 1 samples the posterior.
        learning_rate: a number > 0 or a schedule, in place of `step_size`. It is what you would
            give to `optax.sgd` for the mean loss. With N examples, eps = learning_rate / N.

    Returns:
        A `Dynamics` without momentum. It carries ().

    Raises:
        ValueError: neither or both of `step_size` and `learning_rate` are given, or a scalar
            argument is out of its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> position = jnp.ones(2)
        >>> sgld(step_size=0.1).update(
        ...     position, (), -position, 0, jax.random.key(0), step_size=0.1, temperature=0.0
        ... )
        (Array([0.9, 0.9], dtype=float32), ())
    """

    def move(beta: Any, r: Any, g: Any, xi: Any, eps: Any, noise_scale: Any) -> tuple[Any, Any]:
        return beta + eps * g + noise_scale * xi, r

    return leafwise_sampler(
        move, langevin, step_size, temperature, learning_rate, has_momentum=False
    )
