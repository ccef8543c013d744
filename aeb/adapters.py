# SPDX-License-Identifier: Apache-2.0
"""Any algorithm as an optax gradient transformation or as a BlackJAX sampling algorithm.

Step k of the optax transformation draws from `jax.random.fold_in(key, k)`, as `aeb.sample` does. A
kernel that is given those keys makes the same chain.

The optax state keeps the key as plain numbers, `jax.random.key_data(key)`. Libraries that write
optimizer states to a file (`flax.serialization`, safetensors, numpy) take no typed keys. Neither
does `jnp.where` in wrappers such as `optax.MultiSteps` while `jax.debug_key_reuse` is on. The
random generator is that of the key with which the transformation was made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from aeb import guards
from aeb.empirical_bayes import Algorithm, State
from aeb.kernel import build_kernel, log_likelihood_grad, residual_sum_of_squares, step_keys
from aeb.precision import as_weights
from aeb.types import ArrayTree, Batch, LossFn, PRNGKey
from aeb.xla.threefry import fold_in

__all__ = [
    "StepInfo",
    "TransformState",
    "as_gradient_transformation",
    "as_sampling_algorithm",
    "bind_data",
]


class TransformState(NamedTuple):
    """State of the optax transformation; the parameters stay with the user."""

    key: jax.Array  # u32[2]: data of the chain's key, folded with the step at each update
    chain: State  # the sampler's state, with () for position and model_state


class StepInfo(NamedTuple):
    """What a bound BlackJAX step reports."""

    loss: jax.Array  # f32[]: mean negative log-likelihood of the minibatch


def as_gradient_transformation(
    algorithm: Algorithm, *, num_data: float, key: PRNGKey
) -> optax.GradientTransformationExtraArgs:
    """Return an algorithm as an optax gradient transformation.

    `update(grads, state, params, *, value=None, **extra)` takes the gradient of the mean loss and
    returns `new - params`, so that `optax.apply_updates` sets pruned weights to exactly zero. Put
    it last in a chain, because any later scaling brings pruned weights back. It works inside
    `optax.chain`, `partition`, `masked`, `MultiSteps` and `inject_hyperparams` (give the last
    `hyperparam_dtype=jnp.float32`), in a linen `TrainState` and in an `nnx.Optimizer`.

    Args:
        algorithm: made by `aeb.empirical_bayes`.
        num_data: N, the number of examples in the data set.
        key: a typed key, whose data the state keeps. Give each transformation a key of its own.
            States made under `jax.vmap` share one key, so put other keys into their `key` field,
            as typed keys or as key data.

    Returns:
        An `optax.GradientTransformationExtraArgs`. With the Gaussian likelihood, `update` needs
        `value=loss`, half the mean squared error at the old position.

    Raises:
        ValueError: `num_data` is not positive; at update, `params` or a needed `value` is missing.
        TypeError: `key` is not a typed key.

    Example:
        >>> import aeb
        >>> prior = aeb.spike_slab()
        >>> dynamics = aeb.sgld(learning_rate=1e-3)
        >>> algorithm = aeb.empirical_bayes(dynamics, prior, sparsify=aeb.magnitude(0.5))
        >>> tx = as_gradient_transformation(algorithm, num_data=10, key=jax.random.key(0))
        >>> params = jnp.array([1.0, 0.1])
        >>> updates, state = tx.update(jnp.zeros(2), tx.init(params), params)
        >>> float(optax.apply_updates(params, updates)[1])
        0.0
    """
    guards.made_of("algorithm", algorithm, Algorithm, "aeb.empirical_bayes(...)")
    guards.positive("num_data", num_data)
    guards.check_key("key", key)
    num_data = float(num_data)
    generator = jax.random.key_impl(key)

    def init(params: ArrayTree) -> TransformState:
        # Copy it: a training step that donates its state would donate the caller's key too.
        data = jnp.copy(jax.random.key_data(key))
        return TransformState(data, algorithm.init(params)._replace(position=(), model_state=()))

    def update(
        grads: ArrayTree,
        state: TransformState,
        params: ArrayTree | None = None,
        *,
        value: Any = None,
        **extra: Any,
    ) -> tuple[ArrayTree, TransformState]:
        del extra
        if params is None:
            raise ValueError(
                "params: this transformation needs them; call update(g, state, params)"
            )
        params = as_weights(params)
        if jax.tree.map(jnp.shape, grads) != jax.tree.map(jnp.shape, params):
            raise ValueError("grads: they differ from params in structure or shapes")
        if algorithm.likelihood == "gaussian" and value is None:
            raise ValueError(
                "value: the Gaussian likelihood learns its noise scale from the loss; call "
                "update(grads, state, params, value=loss)"
            )
        chain = state.chain
        chain_key = state.key
        if not jnp.issubdtype(chain_key.dtype, jax.dtypes.prng_key):
            chain_key = jax.random.wrap_key_data(jnp.asarray(chain_key), impl=generator)
        step_key = fold_in(chain_key, chain.step)

        def rss(position: ArrayTree) -> Any:
            del position  # the loss is that of the old one
            return residual_sum_of_squares(value, num_data)

        new = algorithm.transition(
            chain._replace(position=params),
            log_likelihood_grad(grads, num_data),
            step_keys(step_key)[0],
            num_data=num_data,
            loss=value,
            rss=rss if algorithm.likelihood == "gaussian" else None,
        )
        updates = jax.tree.map(jnp.subtract, new.position, params)
        return updates, TransformState(state.key, new._replace(position=()))

    return optax.GradientTransformationExtraArgs(init, update)


def as_sampling_algorithm(
    algorithm: Algorithm,
    loss_fn: LossFn,
    *,
    num_data: float,
    has_aux: bool = False,
    exact_rss: bool = True,
) -> Any:
    """Return an algorithm as a BlackJAX sampling algorithm.

    Args:
        algorithm: made by `aeb.empirical_bayes`.
        loss_fn: as in `aeb.build_kernel`.
        num_data: N, examples in the data set.
        has_aux: as in `aeb.build_kernel`.
        exact_rss: as in `aeb.build_kernel`.

    Returns:
        A `blackjax.SamplingAlgorithm` with `init(position, rng_key=None, model_state=())` and
        `step(rng_key, state, minibatch, step_size=None, temperature=None, learning_rate=None) ->
        state`. The last three override the settings of the dynamics for this step. Use
        `bind_data` for BlackJAX's own loops.

    Raises:
        ValueError: `num_data` is not positive.

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> loss_fn = lambda w, x: jnp.mean((x - w) ** 2)
        >>> sampler = as_sampling_algorithm(algorithm, loss_fn, num_data=4)
        >>> state = sampler.init(jnp.zeros(1))
        >>> state = sampler.step(jax.random.key(0), state, jnp.ones((4, 1)), 1e-2)
        >>> int(state.step)
        1
    """
    from blackjax.base import SamplingAlgorithm

    kernel = build_kernel(
        algorithm, loss_fn, num_data=num_data, has_aux=has_aux, exact_rss=exact_rss
    )

    def init(position: ArrayTree, rng_key: Any = None, model_state: Any = ()) -> State:
        del rng_key
        return algorithm.init(position, model_state)

    def step(
        rng_key: PRNGKey,
        state: State,
        minibatch: Batch,
        step_size: Any = None,
        temperature: Any = None,
        learning_rate: Any = None,
    ) -> State:
        return kernel(
            state,
            minibatch,
            rng_key,
            step_size=step_size,
            temperature=temperature,
            learning_rate=learning_rate,
        )

    return SamplingAlgorithm(init, step)


def bind_data(sampler: Any, data: Batch, batch_size: int | None = None) -> Any:
    """Return a BlackJAX sampler with its data bound, for loops that pass no minibatches.

    Args:
        sampler: made by `as_sampling_algorithm`.
        data: a pytree of arrays that share their leading axis.
        batch_size: how many rows to draw for each step, with replacement; None for all rows.

    Returns:
        A `blackjax.SamplingAlgorithm` with `step(rng_key, state) -> (state, StepInfo)`, for
        `blackjax.util.run_inference_algorithm` and `thin_algorithm`.

    Raises:
        ValueError: the leaves of `data` differ in length, or `batch_size` is not in
            [1, rows].

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> loss_fn = lambda w, x: jnp.mean((x - w) ** 2)
        >>> sampler = as_sampling_algorithm(algorithm, loss_fn, num_data=4)
        >>> bound = bind_data(sampler, jnp.ones((4, 1)), batch_size=2)
        >>> state, info = bound.step(jax.random.key(0), bound.init(jnp.zeros(1)))
        >>> float(info.loss)
        1.0
    """
    from blackjax.base import SamplingAlgorithm

    num_rows = guards.check_data("data", data)
    if batch_size is not None:
        guards.whole("batch_size", batch_size, 1)
        guards.within("batch_size", batch_size, f"[1, {num_rows}]")

    def step(rng_key: PRNGKey, state: State) -> tuple[State, StepInfo]:
        guards.check_key("rng_key", rng_key)
        if batch_size is None:
            new = sampler.step(rng_key, state, data)
        else:
            row_key, step_key = jax.random.split(rng_key)
            rows = jax.random.randint(row_key, (batch_size,), 0, num_rows)
            batch = jax.tree.map(lambda leaf: leaf[rows], data)
            new = sampler.step(step_key, state, batch)
        return new, StepInfo(new.loss)

    return SamplingAlgorithm(sampler.init, step)
