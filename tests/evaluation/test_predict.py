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


def linear(draw, x):
    return x @ draw["w"]


def test_the_average_over_chains_is_that_over_all_their_draws():
    """Fails if only the first chain is averaged, or weights go to the draws of another chain."""
    w = jax.random.normal(jax.random.key(0), (2, 3, 4))
    inputs = jax.random.normal(jax.random.key(1), (5, 4))
    weights = jnp.arange(6.0).reshape(2, 3)
    answer = aeb.predict(linear, {"w": w}, inputs, chains=True, weights=weights)
    flat = aeb.predict(linear, {"w": w.reshape(6, 4)}, inputs, weights=weights.reshape(6))
    np.testing.assert_array_equal(answer.mean, flat.mean)
    np.testing.assert_array_equal(answer.variance, flat.variance)
    with pytest.raises(ValueError, match=r"^weights: got shape \(6,\), needs \(2, 3\)"):
        aeb.predict(linear, {"w": w}, inputs, chains=True, weights=weights.reshape(6))


def test_draws_of_chains_taken_for_those_of_one_are_an_error_that_says_so():
    """Fails if the note is dropped, or a prediction of other rows goes through."""
    w, inputs = jnp.ones((2, 3, 4)), jnp.ones((5, 4))
    with pytest.raises(TypeError, match=r"a draw has the shapes \{'w': \(3, 4\)\}.*chains=True"):
        aeb.predict(linear, {"w": w}, inputs)
    with pytest.raises(ValueError, match=r"chains: with chains=True .* pass chains=False"):
        aeb.predict(linear, {"w": w[0]}, inputs, chains=True)
    with pytest.raises(ValueError, match=r"^predict_fn: it returned shape \(3, 5\) for 5 rows"):
        aeb.predict(lambda draw, x: draw["w"] @ x.T, {"w": w}, inputs)


def test_one_network_is_no_tree_of_draws():
    """Mutation: the error of the lengths passed on as it is."""
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"^draws: the leaves differ .* leaf\[None\], params"):
        aeb.predict(lambda draw, x: x @ draw["kernel"] + draw["bias"], params, jnp.ones((4, 3)))
