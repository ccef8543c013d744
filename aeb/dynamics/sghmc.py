# SPDX-License-Identifier: Apache-2.0
"""Stochastic gradient Hamiltonian Monte Carlo (Chen, Fox and Guestrin, ICML 2014).

This is the form of Saatci and Wilson (NeurIPS 2017), SGD with momentum and noise:

    r'    = (1 - alpha) * r + eps * g + sqrt(2 * eps * (alpha - B) * T) * xi,    xi ~ N(0, I)
    beta' = beta + r'

alpha is the friction. B >= 0 estimates the noise that the minibatch gradient already has. g
estimates grad log p(beta | D), in nats summed over the data set. As eps -> 0, and if B is exact,
the chain leaves p(beta | D)^(1/T) invariant. T = 0 is gradient ascent with momentum 1 - alpha.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.dynamics.leafwise import leafwise_sampler
from aeb.schedules import as_schedule
from aeb.types import Dynamics, ScalarOrSchedule

__all__ = ["sghmc"]


def sghmc(
    step_size: ScalarOrSchedule | None = None,
    friction: float = 0.1,
    temperature: ScalarOrSchedule = 1.0,
    noise_estimate: ScalarOrSchedule = 0.0,
    *,
    learning_rate: ScalarOrSchedule | None = None,
) -> Dynamics:
    """Build Langevin dynamics with momentum and friction.

    Args:
        step_size: eps > 0, or a schedule from the number of steps taken to eps.
        friction: alpha in (0, 1]. The momentum of SGD, usually 0.9, is 1 - alpha.
        temperature: T >= 0, or a schedule. T = 1 samples the posterior.
        noise_estimate: B in [0, alpha], or a schedule, whose values are capped at alpha. The
            authors' code uses eps / 2.
        learning_rate: a number > 0 or a schedule, in place of `step_size`. It is what you would
            give to `optax.sgd(learning_rate, momentum=1 - alpha)` for the mean loss. With N
            examples, eps = learning_rate / N.

    Returns:
        A `Dynamics`. Its momentum has the shapes of the weights and starts at zero.

    Raises:
        ValueError: neither or both of `step_size` and `learning_rate` are given, or a scalar
            argument is out of its range.

    Example:
        >>> dynamics = sghmc(step_size=0.1, friction=0.5)
        >>> position, momentum, key = jnp.ones(1), jnp.full(1, 0.2), jax.random.key(0)
        >>> dynamics.update(
        ...     position, momentum, -position, 0, key, step_size=0.1, temperature=0.0
        ... )
        (Array([1.], dtype=float32), Array([0.], dtype=float32))
    """
    guards.within("friction", friction, "(0, 1]")
    if not isinstance(friction, jax.core.Tracer):
        guards.within("noise_estimate", noise_estimate, f"[0, {float(friction)}]")
    estimate_at = as_schedule(noise_estimate)

    def numbers(step_size: Any, temperature: Any, count: Any) -> tuple[Any, Any, Any]:
        # A schedule may exceed the friction; then no noise is added.
        missing = jnp.maximum(friction - estimate_at(count), 0.0)
        return 1.0 - friction, step_size, jnp.sqrt(2.0 * step_size * missing * temperature)

    def move(
        beta: Any, r: Any, g: Any, xi: Any, kept: Any, eps: Any, noise_scale: Any
    ) -> tuple[Any, Any]:
        r = kept * r + eps * g + noise_scale * xi
        return beta + r, r

    return leafwise_sampler(move, numbers, step_size, temperature, learning_rate)
