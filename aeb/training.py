# SPDX-License-Identifier: Apache-2.0
"""Train a dense network, if the user gives no trained weights.

It is trained with Adam (Kingma and Ba, ICLR 2015), which trains most networks with the same
learning rate. The rate rises over the first twentieth of the run, then falls to 0 by a cosine.
There is no prior and no pruning.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from aeb.network import Network
from aeb.sampling import sample
from aeb.types import ArrayTree, Batch, PRNGKey

__all__ = ["LEARNING_RATE", "DenseState", "train_dense"]

LEARNING_RATE = 1e-3
"""The highest learning rate, for the mean loss."""


class DenseState(NamedTuple):
    """The state of Adam."""

    step: jax.Array  # i32[]: steps taken
    position: ArrayTree  # the weights
    optimizer: Any  # the state of optax.adam
    model_state: Any  # running moments and such, or ()
    loss: jax.Array  # f32[]: loss of the last minibatch; inf at the start


def train_dense(
    network: Network,
    rows: Batch,
    key: PRNGKey,
    *,
    num_steps: int,
    batch_size: int,
    folder: Path,
    callback: Callable[[DenseState], Any],
    callback_every: int,
    progress: bool,
) -> DenseState:
    """Train the weights of a network on all its rows.

    Args:
        network: made by `aeb.network.as_network`; training starts from its weights.
        rows: the rows to train on, in the form of the network's data.
        key: a typed key for minibatches and dropout.
        num_steps: the number of minibatches.
        batch_size: the rows of a minibatch.
        folder: where checkpoints are kept. The same call resumes from them.
        callback: called with the state every `callback_every` steps, and at the end.
        callback_every: the number of steps between two calls.
        progress: whether to show a progress bar.

    Returns:
        The last state.

    Raises:
        aeb.DivergenceError: the loss is no longer finite.
    """
    rise = max(num_steps // 20, 1)
    rate = optax.schedules.warmup_cosine_decay_schedule(
        # One step longer than the run: a rate of exactly 0 would waste the last step.
        LEARNING_RATE / rise,
        LEARNING_RATE,
        rise,
        max(num_steps, rise + 1) + 1,
    )
    adam = optax.adam(rate)

    def kernel(state: DenseState, batch: Batch, key: PRNGKey) -> DenseState:
        (loss, model_state), grad = jax.value_and_grad(network.loss_fn, has_aux=True)(
            state.position, batch, state.model_state, key
        )
        updates, optimizer = adam.update(grad, state.optimizer, state.position)
        position = optax.apply_updates(state.position, updates)
        return DenseState(state.step + 1, position, optimizer, model_state, loss)

    start = DenseState(
        jnp.zeros((), jnp.int32),
        network.params,
        adam.init(network.params),
        network.model_state,
        jnp.full((), jnp.inf),
    )
    # `sample` is typed for our samplers, but its docstring also allows kernels and states like
    # these.
    run: Any = sample
    state: DenseState
    state, _ = run(
        kernel,
        start,
        rows,
        key,
        num_steps=num_steps,
        batch_size=batch_size,
        callback=callback,
        callback_every=callback_every,
        checkpoint=folder,
        progress=progress,
    )
    return state
