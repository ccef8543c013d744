# SPDX-License-Identifier: Apache-2.0
"""Build a sampler from its update rule for one leaf.

This is for samplers that treat all weights in the same way. You write two functions. `numbers`
computes the scalars of the rule from the step size and the temperature, once per step. `move` is
the rule itself, for the arrays of one leaf. This module does the rest: the noise, the loop over the
leaves, the dtypes.

`move` gets arrays in float32, or in float64 where the weights are float64. What it returns is
converted back to the dtypes of the weights and of the momentum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.dynamics.noise import noise_like
from aeb.types import ArrayTree, Dynamics, PRNGKey, ScalarOrSchedule

__all__ = ["langevin", "leafwise_sampler"]

Move = Callable[..., tuple[Any, Any]]
"""`(beta, r, g, xi, *numbers) -> (beta, r)`: weights, momentum, gradient and noise of one leaf."""

Numbers = Callable[[Any, Any, Any], tuple[Any, ...]]
"""`(step_size, temperature, count) -> numbers` for this step."""


def langevin(step_size: Any, temperature: Any, count: Any) -> tuple[Any, Any]:
    """Compute the two scalars of a Langevin step: eps, and sqrt(2 eps T) for the noise.

    Args:
        step_size: eps.
        temperature: T.
        count: the number of steps taken, which these two do not depend on.

    Returns:
        eps and sqrt(2 eps T).

    Example:
        >>> eps, noise_scale = langevin(0.5, 1.0, 0)
        >>> eps, float(noise_scale)
        (0.5, 1.0)
    """
    del count
    return step_size, jnp.sqrt(2.0 * step_size * temperature)


def leafwise_sampler(
    move: Move,
    numbers: Numbers,
    step_size: ScalarOrSchedule | None,
    temperature: ScalarOrSchedule,
    learning_rate: ScalarOrSchedule | None,
    *,
    has_momentum: bool = True,
) -> Dynamics:
    """Build a sampler from its rule for one leaf.

    Args:
        move: the update rule, `(beta, r, g, xi, *numbers) -> (beta, r)`. Its arrays share one shape
            and one dtype; the numbers have that dtype too.
        numbers: `(step_size, temperature, count) -> numbers`, the scalars of the rule, such as
            `langevin`.
        step_size: eps > 0, or a schedule.
        temperature: T >= 0, or a schedule.
        learning_rate: eps N, or a schedule; give it in place of `step_size`.
        has_momentum: whether the sampler carries an array for each leaf, which starts at zero. If
            False, `move` gets and returns () for r.

    Returns:
        A `Dynamics`.

    Raises:
        ValueError: neither or both of `step_size` and `learning_rate` are given, or a scalar
            argument is out of its range.

    Example:
        >>> ascent = leafwise_sampler(
        ...     lambda beta, r, g, xi, eps: (beta + eps * g, r),
        ...     lambda step_size, temperature, count: (step_size,),
        ...     step_size=0.1,
        ...     temperature=0.0,
        ...     learning_rate=None,
        ...     has_momentum=False,
        ... )
        >>> beta, key = jnp.ones(2), jax.random.key(0)
        >>> ascent.update(beta, (), -beta, 0, key, step_size=0.1, temperature=0.0)
        (Array([0.9, 0.9], dtype=float32), ())
    """
    guards.one_rate(step_size, learning_rate)
    guards.at_least("temperature", temperature, 0.0)

    def init(position: ArrayTree) -> ArrayTree:
        return jax.tree.map(jnp.zeros_like, position) if has_momentum else ()

    def update(
        position: ArrayTree,
        momentum: ArrayTree,
        grad: ArrayTree,
        count: Any,
        key: PRNGKey,
        *,
        step_size: Any,
        temperature: Any,
    ) -> tuple[ArrayTree, ArrayTree]:
        at = numbers(step_size, temperature, count)
        structure: Any = jax.tree.structure(position)  # the stubs know none of its methods
        leaves = jax.tree.leaves(position)
        grads = structure.flatten_up_to(grad)
        noise = structure.flatten_up_to(noise_like(key, position, temperature))
        carried = structure.flatten_up_to(momentum) if has_momentum else [()] * len(leaves)
        new = []
        for beta, r, g, xi in zip(leaves, carried, grads, noise, strict=True):
            before = (beta, r, g, xi, *at)
            after = move(*jax.tree.map(lambda x, dtype=xi.dtype: jnp.asarray(x, dtype), before))
            new.append(jax.tree.map(lambda x, old: x.astype(old.dtype), after, (beta, r)))
        moved = structure.unflatten([beta for beta, _ in new])
        return moved, structure.unflatten([r for _, r in new]) if has_momentum else ()

    return Dynamics(init, update, step_size, temperature, learning_rate)
