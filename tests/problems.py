# SPDX-License-Identifier: Apache-2.0
"""Small problems that several tests share."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb

NUM_DATA = 32


def two_layers(dtype=jnp.float32):
    """Parameters of a 6-5-3 network, named as Flax would."""
    first, second = jax.random.split(jax.random.key(11))
    return {
        "Dense_0": {
            "kernel": 0.5 * jax.random.normal(first, (6, 5), dtype),
            "bias": jnp.zeros(5, dtype),
        },
        "Dense_1": {
            "kernel": 0.5 * jax.random.normal(second, (5, 3), dtype),
            "bias": jnp.zeros(3, dtype),
        },
    }


def forward(params, x):
    hidden = jnp.tanh(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None])
    return hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"][None]


def data(dtype=jnp.float32):
    """A learnable batch of 32 rows with class labels and a response."""
    x_key, w_key = jax.random.split(jax.random.key(7))
    x = jax.random.normal(x_key, (NUM_DATA, 6), dtype)
    score = x @ jax.random.normal(w_key, (6, 3), dtype)
    return {"x": x, "label": jnp.argmax(score, axis=-1), "y": score}


def cross_entropy(params, batch):
    log_probs = jax.nn.log_softmax(forward(params, batch["x"]))
    return -jnp.mean(jnp.take_along_axis(log_probs, batch["label"][:, None], axis=-1))


def half_mse(params, batch):
    return 0.5 * jnp.mean(jnp.square(forward(params, batch["x"]) - batch["y"]))


class LaplaceLatent(NamedTuple):
    rate: Any


def laplace_prior():
    """A prior of the user's own in a dozen lines: Laplace weights with a learned rate."""

    def init(params):
        return LaplaceLatent(jnp.ones((), float))

    def log_density(params, latent):
        return -latent.rate * sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params))

    def update(latent, params, omega, num_data, rss=None, kept=None):
        leaves = jax.tree.leaves(params)
        target = sum(x.size for x in leaves) / sum(jnp.sum(jnp.abs(x)) for x in leaves)
        return LaplaceLatent((1 - omega) * latent.rate + omega * target)

    return aeb.Prior(init, log_density, update)
