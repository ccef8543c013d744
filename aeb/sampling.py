# SPDX-License-Identifier: Apache-2.0
"""Run a kernel for many steps with the data on the device.

Step k (counted by `state.step`) of a run with a given key takes rows
`[k B mod M, k B mod M + B)` of the permutation of its epoch, M = B floor(N / B), and draws from
`jax.random.fold_in(key, k)`. So a run depends on the key and the step alone: stopped anywhere and
called again with the state it left, it goes on as if it had never stopped. The N mod B rows that an
epoch leaves out are others in the next one.

The loop is compiled, shuffling included, and called in chunks of about a second. On a CPU, XLA's
convolution gradients are an order slower inside a compiled loop than outside, so there a kernel
with convolutions is dispatched step by step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from tqdm.auto import tqdm

from aeb import guards
from aeb.empirical_bayes import State
from aeb.types import Batch, Kernel, PRNGKey

__all__ = ["sample"]

PATIENCE = 1.0
"""Seconds that one compiled call may take before the progress bar moves."""

MOST_DRAWS = 1024
"""Most draws that one compiled call gathers."""


def sample(
    kernel: Kernel,
    state: State,
    data: Batch,
    key: PRNGKey,
    *,
    num_steps: int,
    batch_size: int | None,
    collect: Callable[[State], Any] | None = None,
    every: int = 1,
    progress: bool = True,
) -> tuple[State, Any]:
    """Take many steps and gather what the user asks for.

    Args:
        kernel: `(state, batch, key) -> state`, made by `aeb.build_kernel`.
        state: where to start.
        data: a pytree of arrays that share their leading axis, N rows; moved to the device once.
        key: a typed key for the whole run; keep it to resume.
        num_steps: steps to take, >= 0.
        batch_size: B, rows of a minibatch, in [1, N]; None for all rows, in their order.
        collect: a pure function of the state, called after each step whose count is a multiple of
            `every`; None gathers nothing.
        every: thinning, in steps.
        progress: whether to show a progress bar with the loss.

    Returns:
        The final state and the gathered tree, whose leaves lead with an axis of draws; None where
        `collect` is None.

    Raises:
        ValueError: an argument is out of its range, or the leaves of `data` differ in length.
        TypeError: `key` is not a typed key.

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(1e-2), aeb.spike_slab(v0=0.1, v1=1.0))
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w) ** 2), num_data=4)
        >>> state, draws = sample(
        ...     kernel, algorithm.init(jnp.zeros(1)), jnp.ones((4, 1)), jax.random.key(0),
        ...     num_steps=10, batch_size=2, collect=lambda s: s.position, every=5, progress=False,
        ... )
        >>> int(state.step), draws.shape
        (10, (2, 1))
    """
    guards.check_key("key", key)
    guards.at_least("num_steps", num_steps, 0)
    guards.at_least("every", every, 1)
    num_rows = guards.check_batch("data", data)
    if num_rows is None:
        raise ValueError("data: it holds no array with a leading axis")
    if batch_size is not None:
        guards.within("batch_size", batch_size, f"[1, {num_rows}]")
    data = jax.tree.map(jnp.asarray, data)
    step_key, order_key = jax.random.split(key)
    stream = _Stream(step_key, order_key, num_rows, batch_size)
    # A copy, for the loop reuses the buffers it is given.
    state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    start = int(jax.device_get(state.step))
    carry = (state, stream.order_at(start))
    advance = jax.jit(_advance(kernel, stream), donate_argnums=0)
    if _collapses_in_a_loop(advance, carry, data):
        runner = _dispatched(advance, collect)
    else:
        runner = _compiled(advance, collect)

    draws: list[Any] = []
    num_draws = 0 if collect is None else (start + num_steps) // every - start // every
    last = start + num_steps if collect is None else (start // every + num_draws) * every
    with tqdm(total=num_steps, disable=not progress, unit="step") as bar:

        def report(state: State, steps: int) -> None:
            bar.update(steps)
            bar.set_postfix(loss=f"{float(jax.device_get(state.loss)):.4f}", refresh=False)

        if num_draws:
            carry, draws = runner.gather(carry, data, start, num_draws, every, report)
            carry = runner.run(carry, data, start + num_steps - last, report)
        else:
            carry = runner.run(carry, data, num_steps, report)
    gathered = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *draws) if draws else None
    return carry[0], gathered


class _Stream(NamedTuple):
    """Which rows and which key each step takes."""

    step_key: PRNGKey
    order_key: PRNGKey
    num_rows: int
    batch_size: int | None

    @property
    def batches(self) -> int:
        """Steps in an epoch."""
        return 1 if self.batch_size is None else self.num_rows // self.batch_size

    def order_at(self, step: Any) -> jax.Array:
        """The permutation of the epoch that a step is in; empty where all rows are taken."""
        if self.batch_size is None:
            return jnp.zeros((0,), jnp.int32)
        epoch_key = jax.random.fold_in(self.order_key, step // self.batches)
        return jax.random.permutation(epoch_key, self.num_rows)

    def batch_at(self, step: Any, order: jax.Array, data: Batch) -> Batch:
        """The minibatch of a step."""
        if self.batch_size is None:
            return data
        first = jnp.remainder(step, self.batches) * self.batch_size
        rows = jax.lax.dynamic_slice_in_dim(order, first, self.batch_size)
        return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), data)


Carry = tuple[State, jax.Array]


def _advance(kernel: Kernel, stream: _Stream) -> Callable[[Carry, Batch], Carry]:
    """One step of the chain, shuffling at the start of each epoch."""

    def advance(carry: Carry, data: Batch) -> Carry:
        state, order = carry
        if stream.batch_size is not None:
            first = jnp.remainder(state.step, stream.batches) == 0
            order = jax.lax.cond(first, lambda: stream.order_at(state.step), lambda: order)
        batch = stream.batch_at(state.step, order, data)
        return kernel(state, batch, jax.random.fold_in(stream.step_key, state.step)), order

    return advance


class _Runner(NamedTuple):
    """Two ways to take steps: `run` only takes them, `gather` also observes each `every`-th."""

    run: Callable[..., Carry]
    gather: Callable[..., tuple[Carry, list[Any]]]


def _dispatched(advance: Any, collect: Any) -> _Runner:
    """Dispatch each step on its own."""
    watch = jax.jit(
        lambda state: jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], collect(state))
    )

    def run(carry: Carry, data: Batch, num_steps: int, report: Any) -> Carry:
        for _ in range(num_steps):
            carry = advance(carry, data)
            report(carry[0], 1)
        return carry

    def gather(
        carry: Carry, data: Batch, start: int, num_draws: int, every: int, report: Any
    ) -> tuple[Carry, list[Any]]:
        draws, lead = [], every - start % every
        for draw in range(num_draws):
            carry = run(carry, data, lead if draw == 0 else every, report)
            draws.append(watch(carry[0]))
        return carry, draws

    return _Runner(run, gather)


def _compiled(advance: Any, collect: Any) -> _Runner:
    """Run many steps inside one compiled call; how many is an argument, so it compiles once."""

    def steps(carry: Carry, data: Batch, num_steps: Any) -> Carry:
        return jax.lax.fori_loop(0, num_steps, lambda _, carry: advance(carry, data), carry)

    burst = jax.jit(steps, donate_argnums=0)

    @jax.jit
    def series(carry: Carry, data: Batch, lead: Any, every: Any, num_draws: Any) -> Any:
        shapes = jax.eval_shape(collect, carry[0])
        buffer = jax.tree.map(lambda s: jnp.zeros((MOST_DRAWS, *s.shape), s.dtype), shapes)

        def body(draw: Any, loop: Any) -> Any:
            carry, buffer = loop
            carry = steps(carry, data, jnp.where(draw == 0, lead, every))
            put = lambda rows, row: rows.at[draw].set(row)  # noqa: E731
            return carry, jax.tree.map(put, buffer, collect(carry[0]))

        return jax.lax.fori_loop(0, num_draws, body, (carry, buffer))

    def run(carry: Carry, data: Batch, num_steps: int, report: Any) -> Carry:
        for length in _paced(num_steps, num_steps):
            carry = burst(carry, data, length)
            report(carry[0], length)
        return carry

    def gather(
        carry: Carry, data: Batch, start: int, num_draws: int, every: int, report: Any
    ) -> tuple[Carry, list[Any]]:
        draws, lead = [], every - start % every
        for length in _paced(num_draws, MOST_DRAWS):
            carry, buffer = series(carry, data, lead, every, length)
            draws.append(jax.tree.map(lambda rows, n=length: rows[:n], buffer))
            report(carry[0], lead + (length - 1) * every)
            lead = every
        return carry, draws

    return _Runner(run, gather)


def _paced(total: int, most: int) -> Any:
    """Cut a run into lengths of about `PATIENCE` seconds each, by the clock."""
    pace, left = 1, total
    while left:
        length = min(pace, left, most)
        began = time.monotonic()
        yield length
        left -= length
        if time.monotonic() - began < PATIENCE / 2:
            pace *= 2


def _collapses_in_a_loop(advance: Any, carry: Carry, data: Batch) -> bool:
    """Whether the step holds convolutions that XLA runs slowly in a loop on this backend."""
    if jax.default_backend() != "cpu":
        return False
    return "conv_general_dilated" in str(advance.trace(carry, data).jaxpr)
