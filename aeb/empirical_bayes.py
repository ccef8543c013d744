# SPDX-License-Identifier: Apache-2.0
"""Adaptive empirical Bayes (Deng et al., NeurIPS 2019, Algorithm 1): four ingredients, one step.

    1. sample    beta <- dynamics(beta, grad log p(D | beta) + grad log p(beta | latent))
    2. adapt     latent <- (1 - omega_k) latent + omega_k target(beta, latent)
    3. prune     beta_j <- 0 where the sparsifier says so

A constant gain of 1 is the EM algorithm. A gain of 0 keeps the prior as it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Unpack

import jax
import jax.numpy as jnp

from aeb import axes, guards
from aeb.precision import as_weights, working_dtype
from aeb.schedules import as_schedule, is_zero, robbins_monro
from aeb.tree import brief, describe
from aeb.types import (
    ArrayTree,
    Dynamics,
    Overrides,
    Prior,
    PRNGKey,
    ScalarOrSchedule,
    Sparsifier,
    Target,
)

__all__ = ["Algorithm", "Init", "State", "Transition", "empirical_bayes"]

LIKELIHOODS = ("categorical", "gaussian")


class State(NamedTuple):
    """The state of a chain: all that the next step needs, as one pytree of arrays.

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> state = algorithm.init({"kernel": jnp.ones(2)})
        >>> int(state.step), state.position["kernel"].shape, sorted(state.latent.rho)
        (0, (2,), ['kernel'])
    """

    step: jax.Array  # i32[]: steps taken, k
    position: ArrayTree  # the user's tree, dtypes kept: weights, beta
    momentum: ArrayTree  # like position, or () without momentum: r
    latent: Any  # the prior's latent variables, at least float32: rho, kappa, sigma, delta
    mask: Any  # of the sparsifier: bool by path, True where a weight is kept; () if all may return
    model_state: Any  # what loss_fn carries (batch statistics), or ()
    loss: jax.Array  # f32[]: mean negative log-likelihood of the last minibatch; inf at the start

    def __repr__(self) -> str:
        step, loss = brief(self.step), brief(self.loss)
        return f"State(step={step}, loss={loss}, position={describe(self.position)})"


class Init(Protocol):
    """Makes the first state of a chain."""

    def __call__(self, params: ArrayTree, model_state: Any = ()) -> State:
        """Return the state of a chain that has taken no step.

        Args:
            params: a tree of floating-point arrays, the weights; Python floats become arrays.
            model_state: what the loss carries (batch statistics), or ().

        Raises:
            ValueError: the prior's `where` matches no leaf, or the pruning rule cannot work with
                the leaves that it matches.
            TypeError: a leaf is not a floating-point array.
        """
        ...


class Transition(Protocol):
    """Takes one step of a chain, given the gradient on a minibatch."""

    def __call__(
        self,
        state: State,
        grad: ArrayTree,
        key: PRNGKey,
        *,
        num_data: Any,
        rss: Callable[[ArrayTree], Any] | None = None,
        loss: Any = None,
        model_state: Any = None,
        **overrides: Unpack[Overrides],
    ) -> State:
        """Return the state after the step.

        Args:
            state: the state before the step.
            grad: the gradient of the log-likelihood in nats over the whole data set; for the
                Gaussian likelihood, at sigma = 1.
            key: a typed key for the noise of this step, consumed.
            num_data: N, the number of examples in the data set.
            rss: a function from the new position to the residual sum of squares over the whole data
                set, f32[]. Only the Gaussian likelihood needs it.
            loss: f32[], the mean negative log-likelihood of the minibatch. None keeps the last one.
            model_state: the model state that the loss returned. None keeps the last one.
            **overrides: `step_size` or `learning_rate`, and `temperature`, for this step only; see
                `aeb.types.Overrides`.

        Raises:
            ValueError: the likelihood is Gaussian and there is no `rss`, or both `step_size` and
                `learning_rate` are given.
            TypeError: `key` is not a typed key.
        """
        ...


class Algorithm(NamedTuple):
    """A complete sampler that does not know its loss yet.

    Attributes:
        init: makes the first state of a chain, see `Init`.
        transition: takes one step, see `Transition`.
        likelihood: "categorical" or "gaussian".
        target: where the ramp of the sparsifier ends; None without a sparsifier or a ramp.
        inclusion: `state -> {path: f32[leaf shape]}`, the inclusion probabilities rho of the sparse
            leaves; None if the prior has none.

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(step_size=0.1), aeb.spike_slab())
        >>> state = algorithm.init(jnp.ones(2))
        >>> state = algorithm.transition(state, -jnp.ones(2), jax.random.key(0), num_data=10)
        >>> algorithm.likelihood, int(state.step)
        ('categorical', 1)
    """

    init: Init
    transition: Transition
    likelihood: str
    target: Target | None = None
    inclusion: Callable[[State], dict[str, jax.Array]] | None = None

    def __repr__(self) -> str:
        return f"Algorithm(init, transition, likelihood={self.likelihood!r})"


def empirical_bayes(
    dynamics: Dynamics,
    prior: Prior,
    *,
    gain: ScalarOrSchedule | None = None,
    sparsify: Sparsifier | None = None,
    likelihood: str = "categorical",
) -> Algorithm:
    """Couple a sampler, a prior that learns itself, and pruning.

    Args:
        dynamics: moves the weights, such as `aeb.sghmc(...)`.
        prior: scores the weights and learns its latents, such as `aeb.spike_slab(...)`.
        gain: omega in [0, 1], or a schedule. 1 is EM, 0 is a fixed prior, and None is
            `aeb.robbins_monro()`.
        sparsify: sets weights to zero, such as `aeb.magnitude(...)`. None never prunes.
        likelihood: "categorical" for any likelihood without a noise scale; "gaussian" if the
            prior's sigma is also the noise scale of a regression.

    Returns:
        An `Algorithm` of pure functions `init` and `transition`.

    Raises:
        ValueError: an argument is out of its range.
        TypeError: an ingredient has the wrong type.

    Example:
        >>> import aeb
        >>> algorithm = empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> algorithm.init({"kernel": jnp.ones(2)}).step
        Array(0, dtype=int32)
    """
    guards.made_of("dynamics", dynamics, Dynamics, "aeb.sghmc(...)")
    guards.made_of("prior", prior, Prior, "aeb.spike_slab(...)")
    if sparsify is not None:
        guards.made_of("sparsify", sparsify, Sparsifier, "aeb.magnitude(...)")
    gain = robbins_monro() if gain is None else gain
    guards.within("gain", gain, "[0, 1]")
    guards.one_of("likelihood", likelihood, LIKELIHOODS)
    guards.one_rate(dynamics.step_size, dynamics.learning_rate)
    gain_at, temperature_at = as_schedule(gain), as_schedule(dynamics.temperature)
    if likelihood == "gaussian" and prior.noise_scale is None:
        raise ValueError(
            "likelihood: 'gaussian' reads the noise scale from the prior, and this prior has no "
            "noise_scale; use one that has, such as aeb.spike_slab or aeb.gaussian"
        )
    noise_scale = prior.noise_scale if likelihood == "gaussian" else None

    def init(params: ArrayTree, model_state: Any = ()) -> State:
        params = as_weights(params)
        guards.check_params(params)
        guards.check_matches(params, prior.where)
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf), params)
        latent = prior.init(_working(params))
        return State(
            step=jnp.zeros((), jnp.int32),
            position=params,
            momentum=dynamics.init(params),
            latent=latent,
            mask=(
                ()
                if sparsify is None
                else sparsify.init(params, _inclusion(prior, latent), prior.where)
            ),
            model_state=model_state,
            loss=jnp.full((), jnp.inf, working_dtype(*jax.tree.leaves(params))),
        )

    def transition(
        state: State,
        grad: ArrayTree,
        key: PRNGKey,
        *,
        num_data: Any,
        rss: Callable[[ArrayTree], Any] | None = None,
        loss: Any = None,
        model_state: Any = None,
        **overrides: Unpack[Overrides],
    ) -> State:
        spec = axes.split_leaf(state.position)
        if spec is None:
            given: dict[str, Any] = {"rss": rss, "loss": loss, "model_state": model_state}
            return take(state, grad, key, num_data=num_data, **given, **overrides)
        if rss is not None:
            raise ValueError(
                f"params: they are split as {spec} over mesh axes of the type Explicit, and the "
                "Gaussian likelihood calls the loss in the middle of a step; make the mesh with "
                "axis_types=(jax.sharding.AxisType.Auto,)"
            )

        def step(state: State, grad: ArrayTree, key: PRNGKey, loss: Any, overrides: Any) -> State:
            return take(state, grad, key, num_data=num_data, loss=loss, **overrides)

        before = state._replace(model_state=())
        new: State = axes.automatic(step, before)(before, grad, key, loss, dict(overrides))
        return new._replace(model_state=state.model_state if model_state is None else model_state)

    def take(
        state: State,
        grad: ArrayTree,
        key: PRNGKey,
        *,
        num_data: Any,
        rss: Callable[[ArrayTree], Any] | None = None,
        loss: Any = None,
        model_state: Any = None,
        step_size: Any = None,
        temperature: Any = None,
        learning_rate: Any = None,
    ) -> State:
        guards.check_key("key", key)
        if noise_scale is not None and rss is None:
            raise ValueError(
                "rss: the Gaussian likelihood learns its noise scale from the residual sum of "
                "squares; pass a function from the new position to it"
            )
        if step_size is None and learning_rate is None:
            step_size, learning_rate = dynamics.step_size, dynamics.learning_rate
        elif step_size is not None and learning_rate is not None:
            guards.one_rate(step_size, learning_rate)
        latent = state.latent
        if prior.with_num_data is not None:
            latent = prior.with_num_data(latent, num_data)
        variance = None if noise_scale is None else jnp.square(noise_scale(latent))
        position, momentum = dynamics.update(
            state.position,
            state.momentum,
            _posterior_score(prior, state.position, latent, grad, variance),
            state.step,
            key,
            step_size=_step_size(step_size, learning_rate, state.step, num_data),
            temperature=temperature_at(state.step) if temperature is None else temperature,
        )
        omega = gain_at(state.step)
        if not is_zero(omega):
            residual = None if noise_scale is None or rss is None else rss(position)
            kept = None
            if sparsify is not None and sparsify.kept is not None:
                kept = sparsify.kept(position, state.step, prior.where)
            latent = prior.update(latent, _working(position), omega, num_data, residual, kept=kept)
        mask = state.mask
        if sparsify is not None:
            if sparsify.observe is not None:
                mask = sparsify.observe(mask, grad)
            position, momentum, mask = sparsify.apply(
                position, momentum, _inclusion(prior, latent), mask, state.step, prior.where
            )
        return State(
            step=state.step + 1,
            position=position,
            momentum=momentum,
            latent=latent,
            mask=mask,
            model_state=state.model_state if model_state is None else model_state,
            loss=state.loss if loss is None else jnp.asarray(loss).astype(state.loss.dtype),
        )

    target = None
    if sparsify is not None and sparsify.kept is not None:
        target = Target(sparsify.kept, prior.where)
    rho_of = prior.inclusion
    inclusion = None if rho_of is None else lambda state: rho_of(state.latent)
    return Algorithm(init, transition, likelihood, target, inclusion)


def _step_size(step_size: Any, learning_rate: Any, count: Any, num_data: Any) -> Any:
    """Return the step size of a step. If a learning rate is given, it is learning rate / N."""
    if learning_rate is None:
        return as_schedule(step_size)(count)
    return as_schedule(learning_rate)(count) / num_data


def _inclusion(prior: Prior, latent: Any) -> dict[str, jax.Array] | None:
    """Return the inclusion probabilities, or None if the prior has none."""
    return None if prior.inclusion is None else prior.inclusion(latent)


def _working(params: ArrayTree) -> ArrayTree:
    """Return the parameters as the prior gets them, in float32 at least."""
    return jax.tree.map(lambda beta: beta.astype(working_dtype(beta)), params)


def _posterior_score(
    prior: Prior, position: ArrayTree, latent: Any, grad: ArrayTree, variance: jax.Array | None
) -> ArrayTree:
    """Compute the gradient of log-likelihood plus log prior, in the working type of each leaf."""
    prior_grad = jax.grad(prior.log_density)(_working(position), latent)

    def add(likelihood_grad: jax.Array, from_prior: jax.Array) -> jax.Array:
        scaled = likelihood_grad.astype(from_prior.dtype)
        return from_prior + (
            scaled if variance is None else scaled / variance.astype(from_prior.dtype)
        )

    return jax.tree.map(add, grad, prior_grad)
