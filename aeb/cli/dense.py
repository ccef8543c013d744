# SPDX-License-Identifier: Apache-2.0
"""Train a network dense, where there are no trained weights to begin with.

Adam (Kingma and Ba, ICLR 2015), because it trains most networks at one learning rate: it rises over
the first twentieth of the run and falls to 0 by a cosine. No prior, no pruning.
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
"""The highest, of the mean loss."""


class DenseState(NamedTuple):
    """What a step of Adam needs."""

    step: jax.Array  # i32[]: steps taken
    position: ArrayTree  # the weights
    optimizer: Any  # the state of optax.adam
    model_state: Any  # running moments and such, or ()
    loss: jax.Array  # f32[]: of the last minibatch, inf before any


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
        rows: to train on, in the form of its data.
        key: of minibatches and dropout.
        num_steps: minibatches.
        batch_size: rows of a minibatch.
        folder: checkpoints go here, and the same call goes on from them.
        callback: called with the state after every so many steps, and at the end.
        callback_every: how many.
        progress: whether to show a bar.

    Returns:
        The last state.

    Raises:
        aeb.DivergenceError: the loss is not finite any more.
    """
    rise = max(num_steps // 20, 1)
    rate = optax.schedules.warmup_cosine_decay_schedule(
        # One step more than is taken: a rate of exactly 0 would waste the last.
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
    # Its types are those of our samplers; as its docstring says, it takes a kernel and a state like
    # these too.
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
