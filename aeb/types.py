# SPDX-License-Identifier: Apache-2.0
"""The names that the layers share: aliases for values, protocols for the ingredients.

An algorithm is put together from four kinds of ingredient, each a NamedTuple of pure functions:
a `Dynamics` moves the weights, a `Prior` scores them and learns itself, a gain (a `Schedule`)
says how fast it learns, and a `Sparsifier` sets weights to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax

__all__ = [
    "ArrayTree",
    "Batch",
    "Dynamics",
    "Kernel",
    "LossFn",
    "PRNGKey",
    "Prior",
    "ScalarOrSchedule",
    "Schedule",
    "Sparsifier",
    "Where",
]

Array: TypeAlias = jax.Array
ArrayTree: TypeAlias = Any
"""A pytree of arrays; a bare array is one too."""

Batch: TypeAlias = Any
"""A pytree of arrays that share their leading axis, the minibatch."""

PRNGKey: TypeAlias = jax.Array
"""A typed key, as made by `jax.random.key`."""

Schedule: TypeAlias = Callable[[Any], Any]
"""A function from the number of steps already taken (0 on the first step) to a scalar."""

ScalarOrSchedule: TypeAlias = float | jax.Array | Schedule

Where: TypeAlias = str | Callable[[str, Any], bool] | None
"""Which leaves: a regular expression searched in the path, `(path, leaf) -> bool`, or None."""

LossFn: TypeAlias = Callable[..., Any]
"""`(params, batch) -> f32[]`, or `(params, batch, model_state, key) -> (f32[], model_state)`."""


class Kernel(Protocol):
    """One step of a chain, pure: `(state, batch, key) -> state`."""

    def __call__(
        self,
        state: Any,
        batch: Batch,
        key: PRNGKey,
        *,
        step_size: Any = None,
        temperature: Any = None,
    ) -> Any:
        """Take a step; the keyword arguments override the schedules of the dynamics for it."""
        ...


class DynamicsUpdate(Protocol):
    """One step of the sampler, given a gradient of the log posterior."""

    def __call__(
        self,
        position: ArrayTree,
        momentum: ArrayTree,
        grad: ArrayTree,
        count: Array,
        key: PRNGKey,
        *,
        step_size: Any = None,
        temperature: Any = None,
    ) -> tuple[ArrayTree, ArrayTree]:
        """Return position and momentum; `step_size` and `temperature` override schedules."""
        ...


class Dynamics(NamedTuple):
    """A stochastic-gradient sampler that knows no prior.

    Attributes:
        init: `position -> momentum`; `()` where the sampler carries nothing.
        update: `(position, momentum, grad, count, key) -> (position, momentum)`; `grad` is that of
            the log posterior, in nats over the whole data set.
    """

    init: Callable[[ArrayTree], ArrayTree]
    update: DynamicsUpdate


def every_weight(path: str, leaf: Any) -> bool:
    """Say whether a leaf is a weight: true of all but those named bias or scale."""
    del leaf
    return path.rsplit("/", 1)[-1] not in ("bias", "scale")


class Prior(NamedTuple):
    """A prior with latent variables that have a fixed-point map.

    It is handed the parameters in float32, or float64 where they are double.

    Attributes:
        init: `params -> latent`, any pytree of arrays.
        log_density: `(params, latent) -> f32[]`, log p(params | latent) in nats up to a constant in
            `params`; its gradient drives the sampler.
        update: `(latent, params, omega, num_data, rss) -> latent`, one stochastic-approximation
            step of gain `omega`; `rss` is the residual sum of squares over the whole data set, or
            None where the likelihood has no noise scale.
        where: `(path, leaf) -> bool`, the leaves that carry the sparse prior, and so the leaves
            that a sparsifier may prune.
    """

    init: Callable[[ArrayTree], Any]
    log_density: Callable[[ArrayTree, Any], Array]
    update: Callable[[Any, ArrayTree, Any, Any, Any], Any]
    where: Callable[[str, Any], bool] = every_weight


class Sparsifier(NamedTuple):
    """A rule that sets weights to exact zero.

    Attributes:
        init: `(params, latent, where) -> mask`; `()` for a rule that remembers nothing. Raises
            where the rule cannot work with these parameters or this latent.
        apply: `(params, momentum, latent, mask, count, where) -> (params, momentum, mask)`.
    """

    init: Callable[[ArrayTree, Any, Callable[[str, Any], bool]], ArrayTree]
    apply: Callable[..., tuple[ArrayTree, ArrayTree, ArrayTree]]
