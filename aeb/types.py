# SPDX-License-Identifier: Apache-2.0
"""Types that all layers share: aliases for values, and protocols for the ingredients.

An algorithm is built from four ingredients. A `Dynamics` moves the weights. A `Prior` scores them
and learns its latent variables. A gain, which is a `Schedule`, says how fast the prior learns. A
`Sparsifier` sets weights to zero. Except for the gain, each is a NamedTuple of pure functions.
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
"""A pytree of arrays. A bare array is one too."""

Batch: TypeAlias = Any
"""A pytree of arrays with the same leading axis, the rows of a minibatch."""

PRNGKey: TypeAlias = jax.Array
"""A typed key, as made by `jax.random.key`."""

Schedule: TypeAlias = Callable[[Any], Any]
"""A function from the number of steps already taken (0 on the first step) to a scalar."""

ScalarOrSchedule: TypeAlias = float | jax.Array | Schedule

Where: TypeAlias = str | Callable[[str, Any], bool] | None
"""Selects leaves: a regular expression to find in the path, `(path, leaf) -> bool`, or None."""

LossFn: TypeAlias = Callable[..., Any]
"""`(params, batch) -> f32[]`, or `(params, batch, model_state, key) -> (f32[], model_state)`."""


class Overrides(TypedDict, total=False):
    """Numbers that override the settings of the dynamics for one step. None overrides nothing.

    Attributes:
        step_size: eps. Do not give it together with `learning_rate`.
        temperature: T.
        learning_rate: the learning rate for the mean loss, eps N.
    """

    step_size: Any
    temperature: Any
    learning_rate: Any


class Kernel(Protocol):
    """A pure function that takes one step of a chain: `(state, batch, key) -> state`."""

    def __call__(
        self, state: Any, batch: Batch, key: PRNGKey, **overrides: Unpack[Overrides]
    ) -> Any:
        """Take one step. See `Overrides` for the keyword arguments."""
        ...


class DynamicsUpdate(Protocol):
    """Takes one step of a sampler, given a gradient of the log posterior."""

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
            momentum: the momentum, which `Dynamics.init` started.
            grad: the gradient of the log posterior, in nats over the whole data set.
            count: i32[], the number of steps taken before this one.
            key: a typed key for the noise of this step, consumed.
            step_size: eps of this step.
            temperature: T of this step.
        """
        ...


class Dynamics(NamedTuple):
    """A stochastic-gradient sampler, independent of any prior.

    Give exactly one of `step_size` and `learning_rate`. At each step `aeb.empirical_bayes` computes
    the step size from it, and passes it to `update`.

    Attributes:
        init: `position -> momentum`, with `()` for a sampler that carries nothing.
        update: takes one step, see `DynamicsUpdate`.
        step_size: eps > 0, a number or a schedule.
        temperature: T >= 0, a number or a schedule.
        learning_rate: the learning rate for the mean loss, eps N for N examples, > 0, a number or a
            schedule.

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

    def __repr__(self) -> str:
        rate = "step_size" if self.learning_rate is None else "learning_rate"
        values = {rate: getattr(self, rate), "temperature": self.temperature}
        numbers = [f"{name}={_number_or_schedule(value)}" for name, value in values.items()]
        return f"Dynamics(init, update, {', '.join(numbers)})"


def _number_or_schedule(value: Any) -> str:
    return "<schedule>" if callable(value) else str(value)


def every_weight(path: str, leaf: Any) -> bool:
    """Return whether a leaf is a weight: True unless it is named bias or scale."""
    del leaf
    return path.rsplit("/", 1)[-1] not in ("bias", "scale")


class LogDensity(Protocol):
    """The log density of the weights under a prior."""

    def __call__(self, params: ArrayTree, latent: Any) -> Array:
        """Return log p(params | latent) in nats, f32[], up to a constant in `params`."""
        ...


class PriorUpdate(Protocol):
    """Takes one step of stochastic approximation for the latents of a prior."""

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
        """Return the new latent, with the structure, shapes and dtypes of the old one.

        Args:
            latent: the old latent.
            params: the weights after the sampler's step, before pruning.
            omega: the gain, a number in [0, 1].
            num_data: N, the number of examples in the data set.
            rss: f32[], the residual sum of squares over the whole data set; None if the likelihood
                has no noise scale.
            kept: f32[], the share of the prior's weights that the sparsifier keeps at this step, in
                [0, 1]; None if nothing is pruned to a target.
        """
        ...


class Prior(NamedTuple):
    """A prior whose latent variables have a fixed-point map.

    It gets the parameters in float32, or in float64 if they are float64.

    Attributes:
        init: `params -> latent`, where the latent is any pytree of arrays.
        log_density: see `LogDensity`. Its gradient with respect to the parameters drives the
            sampler.
        update: see `PriorUpdate`.
        where: `(path, leaf) -> bool`, the leaves that have the sparse prior, and so the leaves that
            a sparsifier may prune.
        noise_scale: `latent -> f32[]`, the sigma that a Gaussian likelihood shares with the prior;
            None if the latent has none.
        inclusion: `latent -> {path: f32[leaf shape]}`, the inclusion probabilities rho of the
            sparse leaves; None if the latent has none.
        with_num_data: `(latent, num_data) -> latent`, which stores in the latent what depends on N,
            the number of examples. It is called at each step, before `log_density`. None if nothing
            depends on N.

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

    def __repr__(self) -> str:
        return f"Prior({', '.join(name for name in self._fields if getattr(self, name))})"


class SparsifierInit(Protocol):
    """Makes the first mask of a sparsifier."""

    def __call__(
        self,
        params: ArrayTree,
        rho: dict[str, Array] | None,
        where: Callable[[str, Any], bool],
    ) -> Any:
        """Return the mask: bool arrays by path, or `()` for a rule that keeps no mask.

        A rule that needs more state returns any pytree.

        Raises:
            ValueError: the rule cannot work with these parameters or this prior.
        """
        ...


class SparsifierApply(Protocol):
    """Prunes the weights at one step."""

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
            momentum: the momentum of the sampler.
            rho: inclusion probabilities of the sparse leaves by path; None if the prior has none.
            mask: the mask before this step.
            count: i32[], the number of steps taken before this one.
            where: `(path, leaf) -> bool`, the leaves that may be pruned.
        """
        ...


class Sparsifier(NamedTuple):
    """A rule that sets weights to exactly zero.

    Attributes:
        init: see `SparsifierInit`.
        apply: see `SparsifierApply`.
        kept: `(params, count, where) -> f32[]` in [0, 1], the share of the weights in the chosen
            leaves that the target keeps after this step. A rule that prunes whole units counts
            units. None for a rule without a target.
        observe: `(mask, grad) -> mask`, called before `apply` with the gradient of the
            log-likelihood at the position before the step, N times the mean over the minibatch.
            None for a rule that does not need it.

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
    observe: Callable[[Any, ArrayTree], Any] | None = None

    def __repr__(self) -> str:
        return f"Sparsifier({', '.join(name for name in self._fields if getattr(self, name))})"


class Target(NamedTuple):
    """Where the ramp of a rule ends. A kernel carries it, so that `sample` can warn about it.

    Attributes:
        kept: as in `Sparsifier`.
        where: `(path, leaf) -> bool`, the leaves that are pruned.
    """

    kept: Callable[[ArrayTree, Any, Callable[[str, Any], bool]], Any]
    where: Callable[[str, Any], bool]
