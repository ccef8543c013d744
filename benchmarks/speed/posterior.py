# SPDX-License-Identifier: Apache-2.0
"""The posteriors on which samplers are compared: a logistic regression and a small network.

    log p(theta | D) = sum_i log p(y_i | x_i, theta) - |kernels|^2 / 2 + const

with biases flat.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb
from aeb.models import MLP, make_loss
from aeb.tree import select

__all__ = ["Posterior", "log_prior", "logistic", "network", "prior"]


class Posterior(NamedTuple):
    """A model, its data, and where to start."""

    position: Any  # f32
    data: dict[str, jax.Array]  # leads with N
    loss_fn: Callable[..., Any]  # mean negative log-likelihood of a batch, in nats
    num_data: int


def logistic(num_rows: int, num_columns: int) -> Posterior:
    """Draw a logistic regression without intercept; coefficients from N(0, 1 / columns)."""
    x_key, beta_key, y_key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (num_rows, num_columns), jnp.float32)
    beta = jax.random.normal(beta_key, (num_columns,), jnp.float32) / num_columns**0.5
    chance = jax.nn.sigmoid(x @ beta)
    y = (jax.random.uniform(y_key, (num_rows,), jnp.float32) < chance).astype(jnp.float32)

    def loss_fn(params: Any, batch: Any) -> jax.Array:
        logits = batch["x"] @ params["kernel"]
        return jnp.mean(jax.nn.softplus(logits) - batch["y"] * logits)

    return Posterior({"kernel": jnp.zeros_like(beta)}, {"x": x, "y": y}, loss_fn, num_rows)


def network(num_rows: int, hidden: int) -> Posterior:
    """Draw rows of 64 numbers in ten classes, for a network of one hidden layer."""
    x_key, y_key, init_key = jax.random.split(jax.random.key(0), 3)
    data = {
        "image": jax.random.normal(x_key, (num_rows, 64), jnp.float32),
        "label": jax.random.randint(y_key, (num_rows,), 0, 10, jnp.int32),
    }
    module = MLP(hidden=(hidden,), features=10)
    params = module.init(init_key, data["image"][:1])["params"]
    return Posterior(params, data, make_loss(module), num_rows)


def prior() -> aeb.Prior:
    """Make the prior of both; at gain 0 it stays what it is."""
    return aeb.gaussian(precision=1.0)


def log_prior(params: Any) -> jax.Array:
    """Write the same prior out, for other libraries."""
    return sum(
        (-0.5 * jnp.sum(jnp.square(leaf)) for leaf in select(params).values()),
        jnp.zeros((), jnp.float32),
    )
