# SPDX-License-Identifier: Apache-2.0
"""Posterior averages against numpy. Mutations: weights not normalised, a batch left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb


@pytest.mark.parametrize("batch_size", [None, 3, 7, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_mean_and_variance_are_those_of_numpy(batch_size, weighted):
    draws = {"w": jax.random.normal(jax.random.key(0), (5, 4, 2))}
    inputs = jax.random.normal(jax.random.key(1), (7, 4))
    weights = jnp.array([0.0, 3.0, 1.0, 0.0, 4.0]) if weighted else None
    answer = aeb.predict(
        lambda draw, x: jax.nn.softmax(x @ draw["w"]),
        draws,
        inputs,
        weights=weights,
        batch_size=batch_size,
    )
    logits = np.einsum("nd,sdk->snk", np.asarray(inputs, float), np.asarray(draws["w"], float))
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    share = np.array([0.0, 3.0, 1.0, 0.0, 4.0]) / 8 if weighted else np.full(5, 0.2)
    mean = np.einsum("s,snk->nk", share, probs)
    variance = np.einsum("s,snk->nk", share, (probs - mean) ** 2)
    np.testing.assert_allclose(answer.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(answer.variance, variance, rtol=1e-4, atol=1e-7)


def test_bfloat16_predictions_are_averaged_in_float32():
    draws = jnp.ones((3,), jnp.bfloat16)
    answer = aeb.predict(lambda w, x: w * x, draws, jnp.ones(2, jnp.bfloat16))
    assert answer.mean.dtype == jnp.float32
