# SPDX-License-Identifier: Apache-2.0
"""The names that the layers share: aliases for values, protocols for the ingredients.

An algorithm is put together from four kinds of ingredient, each a NamedTuple of pure functions:
a `Dynamics` moves the weights, a `Prior` scores them and learns itself, a gain (a `Schedule`)
says how fast it learns, and a `Sparsifier` sets weights to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, TypedDict, Unpack

import jax

__all__ = [
    "ArrayTree",
    "Batch",
    "Dynamics",
    "DynamicsUpdate",
    "Kernel",
    "LogDensity",
    "LossFn",
    "Overrides",
    "PRNGKey",
    "Prior",
    "PriorUpdate",
    "ScalarOrSchedule",
    "Schedule",
    "Sparsifier",
    "SparsifierApply",
    "SparsifierInit",
    "Target",
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


class Overrides(TypedDict, total=False):
    """Numbers for one step, in place of what the dynamics was given; None is as if left out.

    Attributes:
        step_size: eps; not together with `learning_rate`.
        temperature: T.
        learning_rate: that of the mean loss, eps N.
    """

    step_size: Any
    temperature: Any
    learning_rate: Any


class Kernel(Protocol):
    """One step of a chain, pure: `(state, batch, key) -> state`."""

    def __call__(
        self, state: Any, batch: Batch, key: PRNGKey, **overrides: Unpack[Overrides]
    ) -> Any:
        """Take a step; see `Overrides` for the keyword arguments."""
        ...


class DynamicsUpdate(Protocol):
    """One step of a sampler, given a gradient of the log posterior."""

    def __call__(
        self,
        position: ArrayTree,
        momentum: ArrayTree,
        grad: ArrayTree,
        count: Any,
        key: PRNGKey,
        *,
        step_size: Any,
        temperature: Any,
    ) -> tuple[ArrayTree, ArrayTree]:
        """Return the new position and momentum.

        Args:
            position: the weights, in the user's dtypes.
            momentum: what `Dynamics.init` made of them.
            grad: gradient of the log posterior, in nats over the whole data set.
            count: i32[], steps taken before this one.
            key: for the noise of this step; consumed.
            step_size: eps, the number for this step.
            temperature: T, the number for this step.
        """
        ...


class Dynamics(NamedTuple):
    """A stochastic-gradient sampler that knows no prior.

    Exactly one of `step_size` and `learning_rate` is given; `aeb.empirical_bayes` reads it at each
    step, and hands `update` a step size.

    Attributes:
        init: `position -> momentum`; `()` where the sampler carries nothing.
        update: one step, see `DynamicsUpdate`.
        step_size: eps > 0, a number or a schedule.
        temperature: T >= 0, likewise.
        learning_rate: that of the mean loss, eps N for N examples, > 0, likewise.

    Example:
        >>> import aeb, jax, jax.numpy as jnp
        >>> def update(position, momentum, grad, count, key, *, step_size, temperature):
        ...     return jax.tree.map(lambda w, g: w + step_size * g, position, grad), momentum
        >>> ascent = Dynamics(lambda position: (), update, learning_rate=0.25)
        >>> algorithm = aeb.empirical_bayes(ascent, aeb.gaussian(), gain=0.0)
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w) ** 2), num_data=4)
        >>> state = kernel(algorithm.init(jnp.zeros(1)), jnp.ones((4, 1)), jax.random.key(0))
        >>> print(state.position)
        [0.5]
    """

    init: Callable[[ArrayTree], ArrayTree]
    update: DynamicsUpdate
    step_size: ScalarOrSchedule | None = None
    temperature: ScalarOrSchedule = 1.0
    learning_rate: ScalarOrSchedule | None = None


def every_weight(path: str, leaf: Any) -> bool:
    """Return whether a leaf is a weight: true of all but those named bias or scale."""
    del leaf
    return path.rsplit("/", 1)[-1] not in ("bias", "scale")


class LogDensity(Protocol):
    """The log density of the weights under a prior."""

    def __call__(self, params: ArrayTree, latent: Any) -> Array:
        """Return log p(params | latent) in nats, f32[], up to a constant in `params`."""
        ...


class PriorUpdate(Protocol):
    """One step of stochastic approximation of a prior's latents."""

    def __call__(
        self,
        latent: Any,
        params: ArrayTree,
        omega: Any,
        num_data: Any,
        rss: Any = None,
        *,
        kept: Any = None,
    ) -> Any:
        """Return the new latent, of the structure, shapes and dtypes of the old one.

        Args:
            latent: the old one.
            params: the weights after the sampler's step, before pruning.
            omega: the gain, a number in [0, 1].
            num_data: N, examples in the data set.
            rss: f32[], the residual sum of squares over the whole data set, or None where the
                likelihood has no noise scale.
            kept: f32[], the share of its leaves that the sparsifier leaves at this step, in [0, 1];
                None where nothing is pruned to a target.
        """
        ...


class Prior(NamedTuple):
    """A prior with latent variables that have a fixed-point map.

    It is handed the parameters in float32, or float64 where they are double.

    Attributes:
        init: `params -> latent`, any pytree of arrays.
        log_density: see `LogDensity`; its gradient in the parameters drives the sampler.
        update: see `PriorUpdate`.
        where: `(path, leaf) -> bool`, the leaves that carry the sparse prior, and so the leaves
            that a sparsifier may prune.
        noise_scale: `latent -> f32[]`, the sigma that a Gaussian likelihood shares with the prior;
            None where the latent has none.
        inclusion: `latent -> {path: f32[leaf shape]}`, the inclusion probabilities rho of the
            sparse leaves; None where the latent has none.
        with_num_data: `(latent, num_data) -> latent`, which writes into the latent what depends on
            N, the examples in the data set; called at each step before the prior is scored. None
            where nothing does.

    Example:
        >>> import jax.numpy as jnp
        >>> flat = Prior(
        ...     init=lambda params: (),
        ...     log_density=lambda params, latent: jnp.zeros(()),
        ...     update=lambda latent, params, omega, num_data, rss=None, kept=None: latent,
        ... )
        >>> flat.where("Dense_0/kernel", None), flat.where("Dense_0/bias", None)
        (True, False)
    """

    init: Callable[[ArrayTree], Any]
    log_density: LogDensity
    update: PriorUpdate
    where: Callable[[str, Any], bool] = every_weight
    noise_scale: Callable[[Any], Array] | None = None
    inclusion: Callable[[Any], dict[str, Array]] | None = None
    with_num_data: Callable[[Any, Any], Any] | None = None


class SparsifierInit(Protocol):
    """What a rule remembers at the start."""

    def __call__(
        self,
        params: ArrayTree,
        rho: dict[str, Array] | None,
        where: Callable[[str, Any], bool],
    ) -> Any:
        """Return the mask: bool arrays by path, or `()` for a rule that remembers nothing.

        Raises:
            ValueError: the rule cannot work with these parameters or this prior.
        """
        ...


class SparsifierApply(Protocol):
    """The pruning of one step."""

    def __call__(
        self,
        params: ArrayTree,
        momentum: ArrayTree,
        rho: dict[str, Array] | None,
        mask: Any,
        count: Any,
        where: Callable[[str, Any], bool],
    ) -> tuple[ArrayTree, ArrayTree, Any]:
        """Return parameters, momentum and mask, with exact zeros where the rule puts them.

        Args:
            params: the weights.
            momentum: that of the sampler.
            rho: inclusion probabilities of the sparse leaves by path; None where the prior has
                none.
            mask: what the rule remembers.
            count: i32[], steps taken before this one.
            where: `(path, leaf) -> bool`, the leaves that may be pruned.
        """
        ...


class Sparsifier(NamedTuple):
    """A rule that sets weights to exact zero.

    Attributes:
        init: see `SparsifierInit`.
        apply: see `SparsifierApply`.
        kept: `(params, count, where) -> f32[]` in [0, 1], the share of the chosen leaves that the
            target leaves after this step (of their units, for a rule that prunes whole units);
            None for a rule without a target.

    Example:
        >>> import aeb, jax.numpy as jnp
        >>> rule = aeb.magnitude(0.5, regrow=False)
        >>> mask = rule.init(jnp.array([3.0, -1.0]), None, lambda path, leaf: True)
        >>> {path: kept.tolist() for path, kept in mask.items()}
        {'': [True, True]}
    """

    init: SparsifierInit
    apply: SparsifierApply
    kept: Callable[[ArrayTree, Any, Callable[[str, Any], bool]], Any] | None = None


class Target(NamedTuple):
    """What a rule with a ramp will come to; a kernel carries it, so that a run can say so.

    Attributes:
        kept: as in `Sparsifier`.
        where: `(path, leaf) -> bool`, the leaves that are pruned.
    """

    kept: Callable[[ArrayTree, Any, Callable[[str, Any], bool]], Any]
    where: Callable[[str, Any], bool]
