# SPDX-License-Identifier: Apache-2.0
"""Average predictions over posterior draws (Bayesian model averaging).

    mean_i = sum_s w_s f(beta_s, x_i),    variance_i = sum_s w_s (f(beta_s, x_i) - mean_i)^2

with weights w_s that sum to 1: equal for a constant step size, in proportion to it otherwise
(Welling and Teh, ICML 2011).
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
from aeb.types import ArrayTree

__all__ = ["Prediction", "predict"]


class Prediction(NamedTuple):
    """A predictive mean and how much the draws differ about it."""

    mean: jax.Array  # f32[N, ...]: probabilities, or the mean response
    variance: jax.Array  # f32[N, ...]: variance over draws, without the noise of the data


def predict(
    predict_fn: Callable[[Any, Any], jax.Array],
    draws: ArrayTree,
    inputs: Any,
    *,
    weights: jax.Array | None = None,
    batch_size: int | None = None,
) -> Prediction:
    """Average a prediction over draws, one draw at a time in memory.

    Args:
        predict_fn: `(draw, inputs) -> f32[N, ...]`; probabilities rather than logits, since it is
            these that are averaged.
        draws: a pytree whose leaves lead with an axis of draws, as `aeb.sample` gathers them:
            positions, or positions with their model state.
        inputs: an array or a pytree of arrays that share their leading axis, N rows.
        weights: f32[draws], non-negative; None for equal ones. They are normalised here.
        batch_size: rows at a time, to bound the memory; None for all at once.

    Returns:
        A `Prediction` with the weighted mean and variance over draws.

    Raises:
        ValueError: the draws differ in number, there is none, no row is given, or `weights` has
            another shape, a negative entry or no positive one.

    Example:
        >>> draws = jnp.array([1.0, 3.0])
        >>> predict(lambda w, x: w * x, draws, jnp.array([1.0, 2.0]))
        Prediction(mean=Array([2., 4.], dtype=float32), variance=Array([1., 4.], dtype=float32))
    """
    num_draws = guards.check_data("draws", draws)
    num_rows = guards.check_data("inputs", inputs)
    weights = jnp.ones((num_draws,)) if weights is None else jnp.asarray(weights)
    if weights.shape != (num_draws,):
        raise ValueError(f"weights: got shape {weights.shape}, needs ({num_draws},), one a draw")
    if not (bool((weights >= 0).all()) and float(weights.sum()) > 0):
        raise ValueError("weights: they have to be at least 0, and one of them above")
    size = num_rows if batch_size is None else batch_size
    guards.whole("batch_size", size, 1)
    average, weights = _averager(predict_fn), weights / jnp.sum(weights)
    parts = [
        average(draws, weights, jax.tree.map(itemgetter(slice(first, first + size)), inputs))
        for first in range(0, num_rows, size)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


@lru_cache(maxsize=32)
def _averager(predict_fn: Callable[[Any, Any], jax.Array]) -> Callable[..., Prediction]:
    """Compile the average of one prediction function, once for each shape."""

    def average(draws: ArrayTree, weights: jax.Array, inputs: Any) -> Prediction:
        shape = jax.eval_shape(predict_fn, jax.tree.map(lambda leaf: leaf[0], draws), inputs)
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
