# SPDX-License-Identifier: Apache-2.0
"""Score predictions: accuracy, proper scores and calibration.

These are pure functions of class probabilities p[..., c] and integer labels y[...]. Means are taken
over all predictions, that is over every axis but the last.

    accuracy   mean of [argmax_c p = y]
    NLL        mean of -log p_y, in nats
    Brier      mean of sum_c (p_c - [c = y])^2, between 0 and 2 (Brier 1950)
    ECE        sum_m (n_m / n) |accuracy_m - confidence_m| over equal-width bins of max_c p
               (Naeini et al. 2015; Guo et al., ICML 2017)
    entropy    -sum_c p_c log p_c, in nats

The NLL of a network depends as much on its temperature as on what it has learned, and a network
that is too sure of itself can be corrected by one number. So compare networks by the NLL at the
best temperature of each, p_c^(1/T) / sum_k p_k^(1/T). Fit T on other predictions than those that
you score (Ashukha, Lyzhov, Molchanov and Vetrov, ICLR 2020).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr

from aeb import guards
from aeb.precision import working_dtype

__all__ = [
    "ReliabilityCurve",
    "accuracy",
    "brier_score",
    "calibrating_temperature",
    "expected_calibration_error",
    "negative_log_likelihood",
    "predictive_entropy",
    "reliability_curve",
    "temperature_scaled_nll",
]

HALVINGS = 60
"""The number of bisections of log(1 / T), from a width of 14 to float32 precision."""

ArrayLike: TypeAlias = jax.Array | np.ndarray


class ReliabilityCurve(NamedTuple):
    """Confidence against accuracy, bin by bin.

    Example:
        >>> probs = jnp.array([[0.9, 0.1], [0.3, 0.7]])
        >>> curve = reliability_curve(probs, jnp.array([0, 0]), num_bins=2)
        >>> curve.counts.tolist(), curve.accuracy.tolist()
        ([0, 2], [nan, 0.5])
    """

    confidence: jax.Array  # f32[num_bins]: mean confidence in the bin; nan if it is empty
    accuracy: jax.Array  # f32[num_bins]: share of correct predictions; nan if it is empty
    counts: jax.Array  # i32[num_bins]: number of predictions in the bin


def accuracy(probs: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Compute the share of predictions whose most probable class is the label.

    Args:
        probs: f[..., classes], class probabilities.
        labels: i[...], the true classes, from 0 on.

    Returns:
        f32[], between 0 and 1.

    Raises:
        ValueError: the shapes do not fit, or there are no predictions.
        TypeError: the labels are not integers.

    Example:
        >>> print(accuracy(jnp.array([[0.9, 0.1], [0.6, 0.4]]), jnp.array([0, 1])))
        0.5
    """
    probs, labels = _checked(probs, labels)
    return jnp.mean(jnp.argmax(probs, axis=-1) == labels, dtype=probs.dtype)


def negative_log_likelihood(probs: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Compute the mean of -log p_y in nats, which is the log loss.

    A probability of 0 counts as the smallest normal number of its dtype (87.3 nats in float32), so
    that a single one does not make the mean infinite. A label that is not a class gives nan.

    Args:
        probs: f[..., classes], class probabilities.
        labels: i[...], the true classes, from 0 on.

    Returns:
        f32[], in nats.

    Raises:
        ValueError: the shapes do not fit, or there are no predictions.
        TypeError: the labels are not integers.

    Example:
        >>> print(negative_log_likelihood(jnp.array([[0.5, 0.5]]), jnp.array([0])).round(3))
        0.693
    """
    probs, labels = _checked(probs, labels)
    # A negative index would count from the end; one past the end is filled with nan.
    index = jnp.where(labels < 0, probs.shape[-1], labels)
    of_label = jnp.take_along_axis(probs, index[..., None], axis=-1, mode="fill")
    return -jnp.mean(jnp.log(jnp.maximum(of_label, jnp.finfo(probs.dtype).tiny)))


def calibrating_temperature(probs: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Compute the temperature that minimises the NLL of some predictions (Guo et al., ICML 2017).

    Args:
        probs: f[..., classes], class probabilities; 0 counts as the smallest normal number.
        labels: i[...], the true classes, from 0 on.

    Returns:
        T in [1e-3, 1e3], f32[]. It is above 1 if the predictions are too sure of themselves, and
        nan if a label is not a class.

    Raises:
        ValueError: the shapes do not fit, or there are no predictions.
        TypeError: the labels are not integers.

    Example:
        >>> probs, labels = jnp.array([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2]]), jnp.array([0, 0, 1])
        >>> print(calibrating_temperature(probs, labels).round(3))
        2.0
    """
    probs, labels = _checked(probs, labels)
    logits = jnp.log(jnp.maximum(probs, jnp.finfo(probs.dtype).tiny))
    index = jnp.where(labels < 0, probs.shape[-1], labels)
    of_label = jnp.take_along_axis(logits, index[..., None], axis=-1, mode="fill")[..., 0]

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        # The NLL is convex in 1 / T, so its slope is negative up to the minimum, then positive.
        middle = (ends[0] + ends[1]) / 2.0
        chances = jax.nn.softmax(jnp.exp(middle) * logits)
        slope = jnp.mean(jnp.sum(chances * logits, axis=-1) - of_label)
        return jnp.where(slope < 0.0, middle, ends[0]), jnp.where(slope < 0.0, ends[1], middle)

    limit = jnp.log(jnp.asarray(1e3, probs.dtype))
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (-limit, limit))
    # If a label is not a class, its sum is nan.
    return jnp.exp(-(low + high) / 2.0) + 0.0 * jnp.mean(of_label)


def temperature_scaled_nll(probs: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Compute the mean of -log p_y in nats, each half at the temperature fitted on the other half.

    Args:
        probs: f[n, classes], class probabilities.
        labels: i[n], the true classes, from 0 on; n is at least 2. One half are the rows with even
            index, the other those with odd index.

    Returns:
        f32[], in nats.

    Raises:
        ValueError: the shapes do not fit, or there are fewer than two predictions.
        TypeError: the labels are not integers.

    Example:
        >>> probs, labels = jnp.array([[0.9, 0.1]] * 4), jnp.array([0, 0, 1, 1])
        >>> print(temperature_scaled_nll(probs, labels).round(2))
        0.69
    """
    probs, labels = _checked(probs, labels)
    if probs.ndim != 2 or len(probs) < 2:
        raise ValueError(f"probs: got shape {probs.shape}, needs to be [n, classes], n at least 2")
    total = jnp.zeros((), probs.dtype)
    for scored, fitted in ((0, 1), (1, 0)):
        temperature = calibrating_temperature(probs[fitted::2], labels[fitted::2])
        logits = jnp.log(jnp.maximum(probs[scored::2], jnp.finfo(probs.dtype).tiny))
        scaled = jax.nn.softmax(logits / temperature)
        count = jnp.asarray(len(logits), probs.dtype)
        total = total + count * negative_log_likelihood(scaled, labels[scored::2])
    return total / len(probs)


def brier_score(probs: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Compute the mean squared distance between the probabilities and the one-hot label.

    Args:
        probs: f[..., classes], class probabilities.
        labels: i[...], the true classes, from 0 on.

    Returns:
        f32[], between 0 and 2; lower is better.

    Raises:
        ValueError: the shapes do not fit, or there are no predictions.
        TypeError: the labels are not integers.

    Example:
        >>> print(brier_score(jnp.array([[0.5, 0.5]]), jnp.array([0])))
        0.5
    """
    probs, labels = _checked(probs, labels)
    target = jax.nn.one_hot(labels, probs.shape[-1], dtype=probs.dtype)
    return jnp.mean(jnp.sum((probs - target) ** 2, axis=-1))


def expected_calibration_error(
    probs: ArrayLike, labels: ArrayLike, num_bins: int = 15
) -> jax.Array:
    """Compute the mean gap between confidence and accuracy over equal-width bins of confidence.

    Args:
        probs: f[..., classes], class probabilities.
        labels: i[...], the true classes, from 0 on.
        num_bins: M, the number of bins; the literature uses 15.

    Returns:
        f32[], between 0 and 1.

    Raises:
        ValueError: the shapes do not fit, there are no predictions, or `num_bins` is below 1.
        TypeError: the labels are not integers.

    Example:
        >>> probs, labels = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([0, 1])
        >>> print(expected_calibration_error(probs, labels))
        0.5
    """
    confidence, right, count = _bin_sums(probs, labels, num_bins)
    return jnp.sum(jnp.abs(right - confidence)) / jnp.sum(count).astype(right.dtype)


def reliability_curve(probs: ArrayLike, labels: ArrayLike, num_bins: int = 15) -> ReliabilityCurve:
    """Compute mean confidence and accuracy in equal-width bins, for a reliability diagram.

    Bin m of M holds the confidences in ((m - 1) / M, m / M], as in Guo et al. (2017).

    Args:
        probs: f[..., classes], class probabilities.
        labels: i[...], the true classes, from 0 on.
        num_bins: M, the number of bins.

    Returns:
        A `ReliabilityCurve`; an empty bin has a count of 0 and nan in both means.

    Raises:
        ValueError: the shapes do not fit, there are no predictions, or `num_bins` is below 1.
        TypeError: the labels are not integers.

    Example:
        >>> curve = reliability_curve(jnp.array([[0.5, 0.5], [1.0, 0.0]]), jnp.array([1, 0]), 2)
        >>> print(curve.confidence, curve.accuracy, curve.counts)
        [0.5 1. ] [0. 1.] [1 1]
    """
    confidence, right, count = _bin_sums(probs, labels, num_bins)
    size = jnp.where(count > 0, count, 1).astype(right.dtype)
    empty = jnp.where(count > 0, 0.0, jnp.nan).astype(right.dtype)
    return ReliabilityCurve(confidence / size + empty, right / size + empty, count)


def predictive_entropy(probs: ArrayLike) -> jax.Array:
    """Compute the entropy of each predictive distribution, in nats, with 0 log 0 = 0.

    Args:
        probs: f[..., classes], class probabilities.

    Returns:
        f32[...], between 0 and log(classes).

    Raises:
        ValueError: `probs` has no class axis, or is not floating-point.

    Example:
        >>> print(predictive_entropy(jnp.array([[0.5, 0.5], [1.0, 0.0]])).round(3))
        [0.693 0.   ]
    """
    return jnp.sum(entr(_as_probs(probs)), axis=-1)


def _checked(probs: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    probs, labels = _as_probs(probs), jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels: got {labels.dtype}, needs to be the integer class indices")
    if labels.shape != probs.shape[:-1]:
        raise ValueError(
            f"labels: got shape {labels.shape}, needs to be {probs.shape[:-1]} "
            f"for probs of shape {probs.shape}"
        )
    if probs.size == 0:
        raise ValueError(f"probs: got shape {probs.shape}, needs at least one prediction")
    return probs, labels


def _as_probs(probs: ArrayLike) -> jax.Array:
    array = jnp.asarray(probs)
    if array.ndim == 0 or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(
            f"probs: got {array.dtype} of shape {array.shape}, "
            "needs to be floating-point probabilities [..., classes]"
        )
    # Half precision would lose the mean over thousands of predictions.
    return array.astype(working_dtype(array))


def _bin_sums(
    probs: ArrayLike, labels: ArrayLike, num_bins: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sum confidences, correct predictions and ones over the bins ((m - 1) / M, m / M]."""
    guards.at_least("num_bins", num_bins, 1)
    probs, labels = _checked(probs, labels)
    confidence = jnp.max(probs, axis=-1).ravel()
    right = (jnp.argmax(probs, axis=-1) == labels).ravel().astype(probs.dtype)
    index = jnp.clip(jnp.ceil(confidence * num_bins).astype(jnp.int32) - 1, 0, num_bins - 1)

    def total(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values, index, num_segments=num_bins)

    return total(confidence), total(right), total(jnp.ones_like(index))
