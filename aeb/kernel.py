# SPDX-License-Identifier: Apache-2.0
"""Build a pure kernel `(state, batch, key) -> state` from an algorithm and a loss.

A Flax training loop computes the mean negative log-likelihood of a minibatch. A sampler needs the
gradient of the log-likelihood of the whole data set. The factor between them is -N. This file is
the only place that applies it, and that computes the residual sum of squares of a regression,
I = 2 N loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.empirical_bayes import Algorithm, State
from aeb.precision import working_dtype
from aeb.types import ArrayTree, Batch, Kernel, LossFn, Overrides, PRNGKey, Target
from aeb.xla.threefry import split

__all__ = [
    "Facts",
    "build_kernel",
    "facts_of",
    "log_likelihood_grad",
    "residual_sum_of_squares",
    "step_keys",
    "with_facts",
]


class Facts(NamedTuple):
    """Facts about a kernel, for the loop that runs it."""

    target: Target | None = None  # where its sparsity ramp ends; None without a ramp
    num_data: float | None = None  # N; None for a user's own kernel
    # `(params, batch, model_state, key) -> (f32[], model_state)`; None for a kernel with a mapped
    # axis, because its loss may need the axis.
    loss: Callable[..., tuple[jax.Array, Any]] | None = None


def log_likelihood_grad(loss_grad: ArrayTree, num_data: Any) -> ArrayTree:
    """Convert the gradient of the mean loss to that of the log-likelihood of the whole data set.

    Args:
        loss_grad: the gradient of the mean negative log-likelihood, a tree of arrays.
        num_data: N, the number of examples in the data set.

    Returns:
        -N loss_grad, in nats per unit of weight, in float32 at least.

    Example:
        >>> log_likelihood_grad(jnp.array(0.5), 10)
        Array(-5., dtype=float32)
    """
    return jax.tree.map(lambda g: -float(num_data) * g.astype(working_dtype(g)), loss_grad)


def residual_sum_of_squares(loss: Any, num_data: Any) -> Any:
    """Convert half the mean squared error to the residual sum of squares over all data, 2 N loss.

    Example:
        >>> residual_sum_of_squares(0.5, 10)
        10.0
    """
    return 2.0 * num_data * loss


def step_keys(key: PRNGKey) -> jax.Array:
    """Split the key of a step into keys for the noise, the loss and the residuals."""
    return split(key, 3)


def build_kernel(
    algorithm: Algorithm,
    loss_fn: LossFn,
    *,
    num_data: float,
    has_aux: bool = False,
    axis_name: str | None = None,
    exact_rss: bool = True,
) -> Kernel:
    """Build the kernel that takes one step on one minibatch.

    Args:
        algorithm: made by `aeb.empirical_bayes`.
        loss_fn: `(params, batch) -> f32[]`, the mean over the minibatch of the negative
            log-likelihood in nats; for the Gaussian likelihood, half the mean squared error. With
            `has_aux`, `(params, batch, model_state, key) -> (f32[], model_state)`.
        num_data: N, the number of examples in the data set, not in the minibatch.
        has_aux: whether `loss_fn` also takes a model state and a key, and returns a model state.
        axis_name: the mapped axis to average over, under `jax.pmap` or `jax.shard_map`.
        exact_rss: whether a Gaussian likelihood computes its residuals at the new position, as the
            paper does. That costs one more forward pass. False reuses the loss at the old position.

    Returns:
        A pure `kernel(state, batch, key, *, step_size=None, temperature=None,
        learning_rate=None) -> state`. For this step, the keyword arguments override the settings of
        the dynamics.

    Raises:
        ValueError: `num_data` is not positive. The kernel itself raises it if the loss is not a
            scalar, the leaves of the batch differ in length, or the state holds several chains.
        TypeError: `loss_fn` takes other arguments. The kernel itself raises it if the key is not a
            typed key, or the state is not a `State`.

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> kernel = build_kernel(algorithm, lambda w, x: jnp.mean((x - w) ** 2), num_data=4)
        >>> state = algorithm.init(jnp.zeros(1))
        >>> state = jax.jit(kernel)(state, jnp.ones((4, 1)), jax.random.key(0))
        >>> float(state.loss)
        1.0
    """
    guards.made_of("algorithm", algorithm, Algorithm, "aeb.empirical_bayes(...)")
    guards.positive("num_data", num_data)
    num_data = float(num_data)
    arguments = "params, batch, model_state, key" if has_aux else "params, batch"
    guards.called_with("loss_fn", loss_fn, arguments, f"that is the form for has_aux={has_aux}")
    regression = algorithm.likelihood == "gaussian"

    def evaluate(params: ArrayTree, batch: Batch, model_state: Any, key: PRNGKey) -> Any:
        try:
            value = loss_fn(params, batch, model_state, key) if has_aux else loss_fn(params, batch)
        except KeyError as error:
            if isinstance(batch, dict):
                error.add_note(f"loss_fn: the batch that it was given has the keys {list(batch)}")
            raise
        return _checked_loss(value, model_state, has_aux)

    def kernel(state: State, batch: Batch, key: PRNGKey, **overrides: Unpack[Overrides]) -> State:
        if not hasattr(state, "position"):
            raise TypeError(
                f"state: got {type(state).__name__}, needs to be the state of a chain; pass "
                "algorithm.init(params)"
            )
        if jnp.ndim(state.step):
            raise ValueError(
                f"state: it is of {len(state.step)} chains, and the kernel runs one; "
                "aeb.chains(kernel) runs several"
            )
        guards.check_key("key", key)
        guards.check_batch("batch", batch)
        noise_key, loss_key, rss_key = step_keys(key)
        params = state.position
        if axis_name is not None:
            # Each shard has its own dropout. It also keeps its own gradient until the mean below;
            # otherwise shard_map would sum the gradients by itself.
            shard = jax.lax.axis_index(axis_name)
            loss_key = jax.random.fold_in(loss_key, shard)
            rss_key = jax.random.fold_in(rss_key, shard)
            params = jax.lax.pcast(params, axis_name, to="varying")

        def mean_loss(params: ArrayTree, key: PRNGKey) -> Any:
            return evaluate(params, batch, state.model_state, key)

        (loss, model_state), grad = jax.value_and_grad(mean_loss, has_aux=True)(params, loss_key)
        loss, model_state, grad = _mean_over(axis_name, (loss, model_state, grad))

        def rss(position: ArrayTree) -> Any:
            if not exact_rss:
                return residual_sum_of_squares(loss, num_data)
            new_loss, _ = mean_loss(position, rss_key)
            return residual_sum_of_squares(_mean_over(axis_name, new_loss), num_data)

        return algorithm.transition(
            state,
            log_likelihood_grad(grad, num_data),
            noise_key,
            num_data=num_data,
            loss=loss,
            model_state=model_state,
            rss=rss if regression else None,
            **overrides,
        )

    alone = evaluate if axis_name is None else None
    return with_facts(kernel, Facts(algorithm.target, num_data, alone))


def with_facts(kernel: Any, facts: Facts) -> Any:
    """Attach facts to a kernel, for the loop that runs it.

    Args:
        kernel: a function. It is modified.
        facts: the facts to attach.

    Returns:
        The same kernel.

    Example:
        >>> facts_of(with_facts(lambda state, batch, key: state, Facts(num_data=4.0))).num_data
        4.0
    """
    kernel.facts = facts
    return kernel


def facts_of(kernel: Any) -> Facts:
    """Return the facts that are attached to a kernel.

    Args:
        kernel: a kernel of this library, also inside `jax.jit` or `functools.partial`.

    Returns:
        A `Facts`. It is empty if the user wrapped the kernel in a function.
    """
    while isinstance(kernel, functools.partial):
        kernel = kernel.func
    facts = getattr(kernel, "facts", None)
    return facts if isinstance(facts, Facts) else Facts()


def _checked_loss(value: Any, model_state: Any, has_aux: bool) -> tuple[jax.Array, Any]:
    """Return what the user's loss returned, or raise an error that says what it must return."""
    if has_aux:
        if not (isinstance(value, tuple) and len(value) == 2):
            raise ValueError("loss_fn: with has_aux it has to return (loss, model_state)")
        value, model_state = value
    elif isinstance(value, tuple):
        raise ValueError("loss_fn: it returned a tuple; pass has_aux=True for (loss, model_state)")
    loss = jnp.asarray(value)
    if loss.ndim or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(
            f"loss_fn: it returned {loss.dtype}{list(loss.shape)}, needs to be one real number; "
            "take the mean over the minibatch"
        )
    return loss, model_state


def _mean_over(axis_name: str | None, tree: Any) -> Any:
    """Average a tree over a mapped axis. For counters and keys, take the largest."""
    if axis_name is None:
        return tree

    def reduce(x: jax.Array) -> jax.Array:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            bits = jax.lax.pmax(jax.random.key_data(x), axis_name)
            return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(x))
        inexact = jnp.issubdtype(x.dtype, jnp.inexact)
        return jax.lax.pmean(x, axis_name) if inexact else jax.lax.pmax(x, axis_name)

    return jax.tree.map(reduce, tree)
