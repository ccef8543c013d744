# SPDX-License-Identifier: Apache-2.0
"""Average predictions over posterior draws (Bayesian model averaging).

    mean_i = sum_s w_s f(beta_s, x_i),    variance_i = sum_s w_s (f(beta_s, x_i) - mean_i)^2

The weights w_s sum to 1. They are equal for a constant step size, and otherwise proportional to the
step size (Welling and Teh, ICML 2011).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.precision import working_dtype
from aeb.tree import named_leaves
from aeb.types import ArrayTree

__all__ = ["Prediction", "predict"]


class Prediction(NamedTuple):
    """A predictive mean, and the variance of the draws around it.

    Example:
        >>> draws = jnp.array([1.0, 3.0])
        >>> prediction = predict(lambda w, x: w * x, draws, jnp.array([1.0, 2.0]))
        >>> print(prediction.mean, jnp.sqrt(prediction.variance))
        [2. 4.] [1. 2.]
    """

    mean: jax.Array  # f32[N, ...]: probabilities, or the mean response
    variance: jax.Array  # f32[N, ...]: variance over draws, without the noise of the data


def predict(
    predict_fn: Callable[[Any, Any], jax.Array],
    draws: ArrayTree,
    inputs: Any,
    *,
    chains: bool = False,
    weights: jax.Array | None = None,
    batch_size: int | None = None,
) -> Prediction:
    """Compute the average of a prediction over draws, with one draw at a time in memory.

    Args:
        predict_fn: `(draw, inputs) -> f32[N, ...]`. Return probabilities rather than logits,
            because these are what is averaged.
        draws: a pytree as `aeb.sample` collects it, of positions, or of positions with their model
            state. The leading axes of its leaves are [draws], or [chains, draws] if `chains` is
            True.
        inputs: an array, or a pytree of arrays that share their leading axis of N rows.
        chains: whether the draws come from several chains. The average is over all chains.
        weights: f32[draws] or f32[chains, draws], non-negative; None for equal weights. They need
            not sum to 1.
        batch_size: the number of rows to predict at a time, to save memory; None for all at once.

    Returns:
        A `Prediction` with the weighted mean and variance over draws.

    Raises:
        ValueError: the leaves differ in the number of draws, there are no draws or no rows,
            `weights` has the wrong shape, a negative entry or no positive one, or `predict_fn` does
            not return one row for each row of `inputs`, as happens if `chains` is wrong.

    Example:
        >>> draws = jnp.array([1.0, 3.0])
        >>> predict(lambda w, x: w * x, draws, jnp.array([1.0, 2.0]))
        Prediction(mean=Array([2., 4.], dtype=float32), variance=Array([1., 4.], dtype=float32))

        Two chains of three draws:

        >>> draws = jnp.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
        >>> predict(lambda w, x: w * x, draws, jnp.array([1.0, 2.0]), chains=True).mean
        Array([2., 4.], dtype=float32)
    """
    try:
        lead: tuple[int, ...] = (guards.check_data("draws", draws),)
    except ValueError as error:
        raise ValueError(
            f"{error}. The first axis of each leaf is the draws; for one network, add it by "
            "jax.tree.map(lambda leaf: leaf[None], params)"
        ) from error
    num_rows = guards.check_data("inputs", inputs)
    if chains:
        lead += (guards.check_data("draws", jax.tree.map(itemgetter(0), draws)),)
        draws = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), draws)
    weights = jnp.ones(lead) if weights is None else jnp.asarray(weights)
    if weights.shape != lead:
        raise ValueError(f"weights: got shape {weights.shape}, needs {lead}, one a draw")
    weights = weights.reshape(-1)
    if not (bool((weights >= 0).all()) and float(weights.sum()) > 0):
        raise ValueError("weights: they have to be at least 0, and one of them above")
    size = num_rows if batch_size is None else batch_size
    guards.whole("batch_size", size, 1)
    average, weights = _averager(predict_fn), weights / jnp.sum(weights)
    starts = range(0, num_rows, size)
    batches = [jax.tree.map(itemgetter(slice(at, at + size)), inputs) for at in starts]
    try:
        parts = [average(draws, weights, batch) for batch in batches]
    except Exception as error:  # the user's function may raise anything; a note is added
        shapes = {path: leaf.shape[1:] for path, leaf in named_leaves(draws).items()}
        error.add_note(
            f"chains: with chains={chains} a draw has the shapes {shapes}; if it has others, pass "
            f"chains={not chains}"
        )
        raise
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


@lru_cache(maxsize=32)
def _averager(predict_fn: Callable[[Any, Any], jax.Array]) -> Callable[..., Prediction]:
    """Compile the average of one prediction function, once for each shape."""

    def average(draws: ArrayTree, weights: jax.Array, inputs: Any) -> Prediction:
        shape = jax.eval_shape(predict_fn, jax.tree.map(lambda leaf: leaf[0], draws), inputs)
        rows = len(jax.tree.leaves(inputs)[0])
        if not shape.shape or shape.shape[0] != rows:
            raise ValueError(
                f"predict_fn: it returned shape {shape.shape} for {rows} rows of inputs, needs "
                f"to lead with {rows}"
            )
        dtype = working_dtype(shape)
        zero = jnp.zeros(shape.shape, dtype)

        def add(carry: Any, item: Any) -> tuple[Any, None]:
            # West's update of a weighted mean and sum of squares, stable in one pass.
            total, mean, square = carry
            draw, weight = item
            value = predict_fn(draw, inputs).astype(dtype)
            total = total + weight
            gap = value - mean
            mean = mean + jnp.where(total > 0, weight / total, 0) * gap
            return (total, mean, square + weight * gap * (value - mean)), None

        weights = weights.astype(dtype)
        carry = (jnp.zeros((), dtype), zero, zero)
        (_, mean, square), _ = jax.lax.scan(add, carry, (draws, weights))
        return Prediction(mean, square)

    return jax.jit(average)
