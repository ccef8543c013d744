# SPDX-License-Identifier: Apache-2.0
"""The compiled loop: many steps in one call, and the rows and the key of each step.

Step k (counted by `state.step`) takes rows `[j B, j B + B)` of the permutation of its epoch, where
M = floor(N / B) minibatches make an epoch, j = k mod M, and the permutation is drawn from the
order key folded with floor(k / M). Its key is the run's folded with k, split over the chains.

A call takes `lead` steps to its first draw, `every` steps from one draw to the next, and `tail`
steps after the last. These numbers are arguments of the program, so it is compiled only once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb.sampling import divergence
from aeb.sampling.divergence import Health
from aeb.types import Batch, PRNGKey
from aeb.xla.compilation import compiler_options

__all__ = ["Carry", "Keys", "Programs", "build", "row_bytes", "steps_taken", "take"]

ORDER = 2**32 - 1
"""The key is folded with this number for the order of rows. No step has this number."""


class Keys(NamedTuple):
    """The keys of a run with C chains."""

    step: PRNGKey  # key[] or key[C]: folded with the step; noise, dropout
    order: PRNGKey  # key[], or key[C] for data of each chain: folded with the epoch

    @classmethod
    def of(cls, key: PRNGKey, chains: int | None) -> Keys:
        """Derive the keys from the run's key. `chains` is C if each chain has its own data."""
        if jnp.ndim(key):
            return cls(key, jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, ORDER))
        order = jax.random.fold_in(key, ORDER)
        return cls(key, order if chains is None else jax.random.split(order, chains))


class Carry(NamedTuple):
    """What the loop carries from step to step."""

    state: Any  # the caller's; with chains, the first axis of each array is C
    order: jax.Array  # i32[N] or i32[C, N]: rows of the current epoch; i32[0] without minibatches
    health: Health


class Programs(NamedTuple):
    """The programs compiled for a kernel, a `collect` function, and sizes.

    Attributes:
        order_at: `(step, keys) -> order`.
        advance: `(carry, data, keys) -> carry`, one step.
        burst: `(carry, data, keys, steps) -> carry`.
        series: `(carry, data, keys, lead, every, draws, tail, *, room) -> (carry, rows)`; the
            first `draws` of the `room` rows are filled.
        watch: `state -> row`, each leaf with a new leading axis of length 1.
        until_bad: `(carry, data, keys, steps) -> carry`, which stops early if the next step
            diverges.
    """

    order_at: Callable[[Any, Keys], jax.Array]
    advance: Any
    burst: Callable[..., Carry]
    series: Any
    watch: Callable[[Any], Any]
    until_bad: Callable[..., Carry]


@functools.lru_cache(maxsize=32)
def build(
    kernel: Any,
    collect: Any,
    num_rows: int,
    batch_size: int | None,
    data_per_chain: bool,
    policy: str,
) -> Programs:
    """Build the programs of a run. A second run with the same arguments compiles nothing."""
    note = {"skip": divergence.skip, "ignore": divergence.ignore}.get(policy, divergence.observe)
    batches = 1 if batch_size is None else num_rows // batch_size

    def order_at(step: Any, keys: Keys) -> jax.Array:
        if batch_size is None:
            return jnp.zeros((0,), jnp.int32)

        def draw(key: PRNGKey) -> jax.Array:
            return jax.random.permutation(jax.random.fold_in(key, step // batches), num_rows)

        return jax.vmap(draw)(keys.order) if keys.order.ndim else draw(keys.order)

    def minibatch(data: Batch, order: jax.Array, place: Any, size: int) -> Batch:
        rows = jax.lax.dynamic_slice_in_dim(order, place * size, size, order.ndim - 1)
        pick = functools.partial(jnp.take, axis=0)
        return jax.tree.map(lambda x: (jax.vmap(pick) if data_per_chain else pick)(x, rows), data)

    def advance(carry: Carry, data: Batch, keys: Keys) -> Carry:
        state, order, health = carry
        batch, step = data, steps_taken(state)
        if batch_size is not None:
            place = jnp.remainder(step, batches)
            order = jax.lax.cond(place == 0, lambda: order_at(step, keys), lambda: order)
            batch = minibatch(data, order, place, batch_size)
        new = kernel(state, batch, _step_key(state, keys.step, step))
        new, health = note(state, new, health)
        return Carry(new, order, health)

    advance = jax.jit(advance)
    compiled = functools.partial(jax.jit, donate_argnums=0, compiler_options=compiler_options())

    def burst(carry: Carry, data: Batch, keys: Keys, steps: Any) -> Carry:
        return jax.lax.fori_loop(0, steps, lambda _, carry: advance(carry, data, keys), carry)

    def watch(state: Any) -> Any:
        row = jax.vmap(collect)(state) if jnp.ndim(state.step) else collect(state)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], row)

    def series(
        carry: Carry,
        data: Batch,
        keys: Keys,
        lead: Any,
        every: Any,
        draws: Any,
        tail: Any,
        *,
        room: int,
    ) -> tuple[Carry, Any]:
        shapes = jax.eval_shape(watch, carry.state)
        rows = jax.tree.map(lambda s: jnp.zeros((room, *s.shape[1:]), s.dtype), shapes)

        def put(old: jax.Array, new: jax.Array, draw: Any) -> jax.Array:
            """Write row `draw`. After the last draw there is no row, and nothing is written."""
            place = jnp.minimum(draw, room - 1)
            there = jax.lax.dynamic_slice_in_dim(old, place, 1)
            return jax.lax.dynamic_update_slice_in_dim(
                old, jnp.where(draw < draws, new, there), place, 0
            )

        def body(draw: Any, loop: Any) -> Any:
            carry, rows = loop
            steps = jnp.where(draw == draws, tail, jnp.where(draw == 0, lead, every))
            carry = burst(carry, data, keys, steps)
            row = watch(carry.state)
            return carry, jax.tree.map(lambda old, new: put(old, new, draw), rows, row)

        return jax.lax.fori_loop(0, draws + 1, body, (carry, rows))

    def until_bad(carry: Carry, data: Batch, keys: Keys, steps: Any) -> Carry:
        def go_on(loop: Any) -> jax.Array:
            _, left, fine = loop
            return jnp.logical_and(left > 0, fine)

        def body(loop: Any) -> Any:
            carry, left, _ = loop
            new = advance(carry, data, keys)
            fine = divergence.sound(carry.state, new.state).all()
            state = divergence.take_where(fine, new.state, carry.state)
            return new._replace(state=state), left - 1, fine

        return jax.lax.while_loop(go_on, body, (carry, steps, True))[0]

    return Programs(
        jax.jit(order_at),
        compiled(advance),
        compiled(burst),
        compiled(series, static_argnames="room"),
        jax.jit(watch),
        compiled(until_bad),
    )


def take(
    programs: Programs,
    carry: Carry,
    data: Batch,
    keys: Keys,
    *,
    start: int,
    stop: int,
    due: range,
    room: int,
    dispatch: bool,
) -> tuple[Carry, list[Any]]:
    """Take the steps after `start` up to `stop`, and gather the rows that are due.

    Args:
        programs: the programs of the run.
        carry: where to start; its buffers are reused.
        data: all rows.
        keys: the keys of the run.
        start: the number of steps already taken.
        stop: the number of steps taken in the end.
        due: the steps of the run after which a row is gathered; empty if none is.
        room: the most rows that can be due between `start` and `stop`.
        dispatch: whether to call the compiled step from Python instead of looping inside XLA.

    Returns:
        The carry, and trees of rows to concatenate.
    """
    part = within(due, start, stop)
    if dispatch:
        rows = []
        for count in range(start + 1, stop + 1):
            carry = programs.advance(carry, data, keys)
            rows += [programs.watch(carry.state)] if count in part else []
        return jax.block_until_ready(carry), rows
    if not due:
        return jax.block_until_ready(programs.burst(carry, data, keys, stop - start)), []
    lead, tail = (part[0] - start, stop - part[-1]) if part else (0, stop - start)
    lengths = (lead, due.step, len(part), tail)
    answer = programs.series(carry, data, keys, *lengths, room=room)
    carry, rows = jax.block_until_ready(answer)
    return carry, first([rows], len(part))


def first(rows: list[Any], count: int) -> list[Any]:
    """Concatenate trees of rows, and keep the first `count` rows."""
    if not rows or not count:
        return []
    return [jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *rows)]


def within(due: range, start: int, stop: int) -> range:
    """Return the steps that are due after `start` and up to `stop`."""
    if not due:
        return due
    first = due.start + max(0, -(-(start + 1 - due.start) // due.step)) * due.step
    return range(first, min(stop + 1, due.stop), due.step)


def row_bytes(programs: Programs, state: Any) -> int:
    """Return the size of one row."""
    row = jax.eval_shape(programs.watch, state)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(row))


def steps_taken(state: Any) -> jax.Array:
    """Return the number of steps taken; with several chains, that of the first."""
    return jnp.ravel(state.step)[0]


def _step_key(state: Any, key: PRNGKey, step: Any) -> PRNGKey:
    """Return the key of a step, or one key per chain."""
    if jnp.ndim(key):
        return jax.vmap(jax.random.fold_in, in_axes=(0, None))(key, step)
    key = jax.random.fold_in(key, step)
    return jax.random.split(key, state.step.shape[0]) if jnp.ndim(state.step) else key
