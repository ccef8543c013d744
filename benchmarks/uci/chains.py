# SPDX-License-Identifier: Apache-2.0
"""Chains over the splits of a set in one compiled loop, and their predictions of the new rows.

A split has its minibatches, anew in each epoch, and C chains that see the same ones and differ in
start and noise. After every so many epochs the chains predict the new rows; the predictions of the
draws that count are kept, and the learned sigma beside each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb
from aeb.models import MLP
from benchmarks import harness
from benchmarks.uci.splits import Split

__all__ = ["Carry", "Model", "Programs", "Shape", "build", "network", "run", "uniform_start"]

START, ORDER, NOISE = range(3)
"""What the key of a split is folded with."""


class Model(NamedTuple):
    """How one chain begins and how it steps; `cell` is any pytree of numbers.

    Attributes:
        init: `(cell, params) -> aeb.State`.
        step: `(cell, state, batch, key, num_data) -> aeb.State`.
    """

    init: Callable[[Any, Any], aeb.State]
    step: Callable[[Any, aeb.State, Any, jax.Array, int], aeb.State]


class Shape(NamedTuple):
    """How long the chains are and what is kept of them."""

    hidden: int
    batch_size: int  # of a minibatch; all rows where there are no more
    chains: int  # C, for each split
    every: int  # epochs from draw to draw
    draws: int  # in all
    burn_in: int  # of these, left out


class Rows(NamedTuple):
    """What the chains read; stacked splits lead with S."""

    x: jax.Array  # f32[N, d]
    y: jax.Array  # f32[N]
    x_new: jax.Array  # f32[M, d]


class Carry(NamedTuple):
    """The chains and what is gathered from them; K draws count."""

    state: aeb.State  # leads with S, C everywhere
    draws: jax.Array  # i32[]: draws taken, those of the burn-in included
    predictions: jax.Array  # f32[K, S, C, M]: of the new rows, in the unit of y
    sigma: jax.Array  # f32[K, S, C]


class Programs(NamedTuple):
    """What is compiled for a model and a shape.

    Attributes:
        start: `(cell, rows, keys) -> carry`, for one key a split.
        advance: `(cell, carry, rows, keys, draws) -> carry`, after so many draws more. The carry
            it is given is used up.
    """

    start: Callable[..., Carry]
    advance: Callable[..., Carry]


def network(hidden: int) -> MLP:
    """Make the network d-hidden-1 of the authors, with ReLU."""
    return MLP(hidden=(hidden,))


def uniform_start(key: jax.Array, features: int, hidden: int) -> dict[str, Any]:
    """Draw weights and biases from U(-1, 1) / sqrt(fan-in), as PyTorch does by default."""
    shapes = {"fc1": (features, hidden), "head": (hidden, 1)}
    size = sum(rows * columns + columns for rows, columns in shapes.values())
    # One draw for all leaves: XLA compiles it faster.
    flat = jax.random.uniform(key, (size,), float, minval=-1.0, maxval=1.0)
    params, used = {}, 0
    for layer, (rows, columns) in shapes.items():
        block = flat[used : used + (rows + 1) * columns].reshape(rows + 1, columns) * rows**-0.5
        params[layer] = {"kernel": block[:-1], "bias": block[-1]}
        used += block.size
    return params


def run(
    programs: Programs,
    shape: Shape,
    cell: Any,
    split: Split,
    keys: jax.Array,
    folder: Path,
    checkpoint_every: float,
    report: Callable[[int], Any],
) -> tuple[float, Carry]:
    """Run the chains of some splits to their end, from the last checkpoint if there is one.

    Args:
        programs: of the model, for this shape.
        shape: how long the chains are.
        cell: the numbers of the model.
        split: stacked splits.
        keys: one a split.
        folder: for checkpoints.
        checkpoint_every: seconds between two of them.
        report: called with draws done.

    Returns:
        Seconds, without compiling, and the carry.
    """
    rows = Rows(*(jnp.asarray(part) for part in (split.x, split.y, split.x_new)))
    carry = programs.start(cell, rows, keys)
    carry = programs.advance(cell, carry, rows, keys, 0)  # compiled before the clock starts
    checkpoints = harness.Checkpoints(folder, checkpoint_every)
    carry = checkpoints.restore(carry)
    done = int(carry.draws)
    report(done)
    for draws in harness.paced(shape.draws - done):
        carry = jax.block_until_ready(programs.advance(cell, carry, rows, keys, draws))
        done += draws
        report(draws)
        if done < shape.draws:
            checkpoints.save_if_due(done, carry)
    return checkpoints.seconds, carry


@functools.lru_cache(maxsize=16)
def build(model: Model, shape: Shape) -> Programs:
    """Make the programs.

    Args:
        model: how a chain begins and steps.
        shape: how long the chains are.

    Returns:
        `Programs`.
    """
    apply = network(shape.hidden).apply
    kept = shape.draws - shape.burn_in

    def predict(params: Any, x: jax.Array) -> jax.Array:
        return apply({"params": params}, x)[:, 0]

    def start(cell: Any, rows: Rows, keys: jax.Array) -> Carry:
        def begin(key: jax.Array, chain: jax.Array) -> aeb.State:
            own = jax.random.fold_in(jax.random.fold_in(key, START), chain)
            return model.init(cell, uniform_start(own, rows.x.shape[-1], shape.hidden))

        each_chain = jax.vmap(begin, in_axes=(None, 0))
        state = jax.vmap(each_chain, in_axes=(0, None))(keys, jnp.arange(shape.chains))
        size = (kept, len(keys), shape.chains)
        return Carry(
            state=state,
            draws=jnp.zeros((), jnp.int32),
            predictions=jnp.zeros((*size, rows.x_new.shape[1]), float),
            sigma=jnp.zeros(size, float),
        )

    def epoch_of(cell: Any, state: aeb.State, rows: Rows, key: jax.Array, epoch: Any) -> aeb.State:
        """Take one epoch of the chains of one split."""
        num_data = len(rows.y)
        batch_size = min(shape.batch_size, num_data)
        noise_key = jax.random.fold_in(key, NOISE)
        whole = {"features": rows.x, "target": rows.y}

        def step(state: aeb.State, batch: Any) -> aeb.State:
            step_key = jax.random.fold_in(noise_key, state.step[0])

            def one(state: aeb.State, chain: jax.Array) -> aeb.State:
                return model.step(cell, state, batch, jax.random.fold_in(step_key, chain), num_data)

            return jax.vmap(one)(state, jnp.arange(shape.chains))

        if batch_size == num_data:
            return step(state, whole)
        order_key = jax.random.fold_in(jax.random.fold_in(key, ORDER), epoch)
        order = jax.random.permutation(order_key, num_data)

        def on_minibatch(number: Any, state: aeb.State) -> aeb.State:
            chosen = jax.lax.dynamic_slice_in_dim(order, number * batch_size, batch_size)
            return step(state, jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), whole))

        return jax.lax.fori_loop(0, num_data // batch_size, on_minibatch, state)

    def advance(cell: Any, carry: Carry, rows: Rows, keys: jax.Array, draws: Any) -> Carry:
        def one_draw(_: Any, carry: Carry) -> Carry:
            def one_epoch(number: Any, state: aeb.State) -> aeb.State:
                epoch = carry.draws * shape.every + number
                each_split = jax.vmap(epoch_of, in_axes=(None, 0, 0, 0, None))
                return each_split(cell, state, rows, keys, epoch)

            state = jax.lax.fori_loop(0, shape.every, one_epoch, carry.state)
            new = jax.vmap(jax.vmap(predict, in_axes=(0, None)))(state.position, rows.x_new)
            # Draws of the burn-in go to row 0, which the first that counts overwrites.
            row = jnp.maximum(carry.draws - shape.burn_in, 0)
            return Carry(
                state=state,
                draws=carry.draws + 1,
                predictions=carry.predictions.at[row].set(new),
                sigma=carry.sigma.at[row].set(state.latent.sigma),
            )

        return jax.lax.fori_loop(0, draws, one_draw, carry)

    return Programs(jax.jit(start), jax.jit(advance, donate_argnums=1))
