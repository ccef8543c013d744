# SPDX-License-Identifier: Apache-2.0
"""Chains over the splits of a set in one compiled loop, and their predictions of the new rows.

A split has its minibatches, anew in each epoch, and C chains that see the same ones and differ in
start and noise. After every so many epochs the chains predict the new rows; the predictions of the
draws that count are kept, and the learned sigma beside each.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import aeb
from aeb.models import MLP
from benchmarks.uci.recipe import Shape

START, ORDER, NOISE = range(3)
"""What the key of a split is folded with."""


class OneChain(NamedTuple):
    """How one chain begins and how it steps; `numbers` is any pytree of them.

    Attributes:
        init: `(numbers, params) -> aeb.State`.
        step: `(numbers, state, batch, key, num_data) -> aeb.State`.
    """

    init: Callable[[Any, Any], aeb.State]
    step: Callable[[Any, aeb.State, Any, jax.Array, int], aeb.State]


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


@functools.lru_cache(maxsize=16)
def build(one_chain: OneChain, shape: Shape) -> tuple[Callable[..., Carry], Callable[..., Carry]]:
    """Make the programs of one chain and a shape.

    Returns:
        `start`, `(numbers, rows, keys) -> carry`, for one key a split; and `advance`,
        `(numbers, carry, rows, keys, draws) -> carry`, after so many draws more. The carry it is
        given is used up.
    """
    apply = MLP(hidden=(shape.hidden,)).apply
    kept = shape.draws - shape.burn_in

    def predict(params: Any, x: jax.Array) -> jax.Array:
        return apply({"params": params}, x)[:, 0]

    def start(numbers: Any, rows: Rows, keys: jax.Array) -> Carry:
        def begin(key: jax.Array, chain: jax.Array) -> aeb.State:
            start_key = jax.random.fold_in(jax.random.fold_in(key, START), chain)
            return one_chain.init(numbers, uniform_start(start_key, rows.x.shape[-1], shape.hidden))

        each_chain = jax.vmap(begin, in_axes=(None, 0))
        state = jax.vmap(each_chain, in_axes=(0, None))(keys, jnp.arange(shape.chains))
        size = (kept, len(keys), shape.chains)
        return Carry(
            state=state,
            draws=jnp.zeros((), jnp.int32),
            predictions=jnp.zeros((*size, rows.x_new.shape[1]), float),
            sigma=jnp.zeros(size, float),
        )

    def epoch_of(
        numbers: Any, state: aeb.State, rows: Rows, key: jax.Array, epoch: Any
    ) -> aeb.State:
        """Take one epoch of the chains of one split."""
        num_data = len(rows.y)
        batch_size = min(shape.batch_size, num_data)
        noise_key = jax.random.fold_in(key, NOISE)
        whole = {"features": rows.x, "target": rows.y}

        def step(state: aeb.State, batch: Any) -> aeb.State:
            step_key = jax.random.fold_in(noise_key, state.step[0])

            def one(state: aeb.State, chain: jax.Array) -> aeb.State:
                return one_chain.step(
                    numbers, state, batch, jax.random.fold_in(step_key, chain), num_data
                )

            return jax.vmap(one)(state, jnp.arange(shape.chains))

        if batch_size == num_data:
            return step(state, whole)
        order_key = jax.random.fold_in(jax.random.fold_in(key, ORDER), epoch)
        order = jax.random.permutation(order_key, num_data)

        def on_minibatch(number: Any, state: aeb.State) -> aeb.State:
            chosen = jax.lax.dynamic_slice_in_dim(order, number * batch_size, batch_size)
            return step(state, jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), whole))

        return jax.lax.fori_loop(0, num_data // batch_size, on_minibatch, state)

    def advance(numbers: Any, carry: Carry, rows: Rows, keys: jax.Array, draws: Any) -> Carry:
        def one_draw(_: Any, carry: Carry) -> Carry:
            def one_epoch(number: Any, state: aeb.State) -> aeb.State:
                epoch = carry.draws * shape.every + number
                each_split = jax.vmap(epoch_of, in_axes=(None, 0, 0, 0, None))
                return each_split(numbers, state, rows, keys, epoch)

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

    return jax.jit(start), jax.jit(advance, donate_argnums=1)
