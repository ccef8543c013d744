# SPDX-License-Identifier: Apache-2.0
"""Run a kernel for many steps with the data on the device.

Step k (counted by `state.step`) of a run with a given key takes rows
`[k B mod M, k B mod M + B)` of the permutation of its epoch, M = B floor(N / B), and draws from
`jax.random.fold_in(key, k)`. So a run depends on the key and the step alone: stopped anywhere and
called again with the state it left, it goes on as if it had never stopped. The N mod B rows that
an epoch leaves out are others in the next one. With `checkpoint` the call does that by itself: it
saves as it goes, and the same call made again, after a crash or a limit on its seconds, goes on to
the end that it would have had.

The loop is compiled, shuffling included, and called in chunks of about a second. On a CPU, the
gradients of JAX's own convolution are far slower inside a compiled loop than outside, so there a
kernel with such ones is dispatched step by step; `aeb.models.conv_general_dilated` has others.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from aeb import guards
from aeb.empirical_bayes import State
from aeb.files import checkpoint as files
from aeb.files.archive import DamagedFileError
from aeb.types import Batch, Kernel, PRNGKey
from aeb.xla.compilation import collapses_in_a_loop, compiler_options

__all__ = ["sample"]

PATIENCE = 1.0
"""Seconds that one compiled call may take before the progress bar moves."""

ORDER = 2**32 - 1
"""What the key is folded with for the order of rows; no step comes so far."""

BUFFER = 2**26
"""Bytes of draws that one compiled call may gather."""

SAVE_EVERY = 60.0
"""Seconds between two checkpoints."""


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
    callback: Callable[[State], Any] | None = None,
    callback_every: int = 100,
    checkpoint: str | os.PathLike[str] | None = None,
    limit_seconds: float | None = None,
    progress: bool = True,
) -> tuple[State, Any]:
    """Take many steps and gather what the user asks for.

    Args:
        kernel: `(state, batch, key) -> state`, made by `aeb.build_kernel`, or by `aeb.chains` for
            states that lead with an axis of chains and share the minibatch.
        state: where to start; chains have to have taken the same number of steps.
        data: a pytree of arrays that share their leading axis, N rows; moved to the device once.
        key: a typed key for the whole run; keep it to resume.
        num_steps: steps to take, >= 0.
        batch_size: B, rows of a minibatch, in [1, N]; None for all rows, in their order.
        collect: a pure function of the state, called after each step whose count is a multiple of
            `every`; None gathers nothing. A later call with the same kernel and the same function
            compiles nothing anew.
        every: thinning, in steps.
        callback: called with the state, on the host, after each step whose count is a multiple of
            `callback_every`, and after the last. It looks, and changes nothing; what it raises
            ends the run. With `checkpoint`, those since the last save are made again after a crash.
        callback_every: in steps.
        checkpoint: a folder of this run alone. State and draws are saved there about once a minute
            and at the end; where it holds some already, the run goes on from them, and the
            caller's `state` says only where it began. Another key, start, batch size, thinning or
            number of rows is refused; another kernel cannot be seen, so give it another folder.
        limit_seconds: stop after so many seconds, > 0, with a TimeoutError, once all is saved; it
            needs `checkpoint`. The same call made again goes on. The clock is looked at between
            compiled calls, and a compiled call does not end between two draws: with a large
            `every` it may take longer.
        progress: whether to show a progress bar with the loss.

    Returns:
        The final state and the gathered tree, whose leaves lead with an axis of draws; None where
        nothing was gathered.

    Raises:
        ValueError: an argument is out of its range, the leaves of `data` differ in length, or the
            checkpoint is of another run.
        TypeError: `key` is not a typed key.
        TimeoutError: the seconds are over; all is saved.

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-2), aeb.spike_slab())
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w) ** 2), num_data=4)
        >>> state, draws = sample(
        ...     kernel, algorithm.init(jnp.zeros(1)), jnp.ones((4, 1)), jax.random.key(0),
        ...     num_steps=10, batch_size=2, collect=lambda s: s.position, every=5, progress=False,
        ... )
        >>> int(state.step), draws.shape
        (10, (2, 1))
    """
    guards.check_key("key", key)
    guards.whole("num_steps", num_steps, 0)
    guards.whole("every", every, 1)
    num_rows = guards.check_data("data", data)
    if batch_size is not None:
        guards.whole("batch_size", batch_size, 1)
        guards.within("batch_size", batch_size, f"[1, {num_rows}]")
    guards.whole("callback_every", callback_every, 1)
    if limit_seconds is not None:
        guards.positive("limit_seconds", limit_seconds)
        if checkpoint is None:
            raise ValueError("limit_seconds: it needs a folder to save in; name a checkpoint")
    data = jax.tree.map(jnp.asarray, data)
    keys = _Keys(key, jax.random.fold_in(key, ORDER))
    programs = _compile(cast(Any, kernel), collect, num_rows, batch_size)
    # A copy, for the loop reuses the buffers it is given.
    state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    start = int(jax.device_get(_steps_taken(state)))
    stop = start + num_steps
    due = range(0) if collect is None else range((start // every + 1) * every, stop + 1, every)
    draws: list[Any] = []
    keeper = None
    if checkpoint is not None:
        facts = {
            "start": start,
            "batch_size": num_rows if batch_size is None else batch_size,
            "rows": num_rows,
            "every": every if collect is not None else 0,
        }
        keeper = _Keeper(checkpoint, key, programs.watch, due, facts, limit_seconds)
        state, draws = keeper.restore(state, stop)
    done = int(jax.device_get(_steps_taken(state)))
    carry = (state, programs.order_at(done, keys))
    slow = collapses_in_a_loop(programs.advance, carry, data, keys)
    runner = _dispatched if slow else _looped
    with tqdm(total=num_steps, initial=done - start, disable=not progress, unit="step") as bar:
        shown = time.monotonic()
        for begin, end in _segments(done, stop, callback_every if callback else None):
            part = range(_first(due, begin), end + 1, due.step) if due else due
            segment = _Segment(begin, end, part, len(due))
            pieces = runner(programs, carry, data, keys, segment)
            for carry, steps, rows in pieces:
                draws += rows
                bar.update(steps)
                if progress and time.monotonic() - shown > 0.2:
                    shown = time.monotonic()
                    loss = jax.device_get(carry[0].loss).mean()
                    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                done += steps
                if keeper is not None and steps:
                    keeper.save_if_due(carry[0], draws)
                    if done < end or callback is None:
                        keeper.end_if_over(carry[0], draws, done, stop)
            if callback is not None and begin < end:
                callback(jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), carry[0]))
                if keeper is not None:  # after the call, so that none is lost
                    keeper.end_if_over(carry[0], draws, done, stop)
    if keeper is not None:
        keeper.save(carry[0], draws)
    gathered = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *draws) if draws else None
    return carry[0], gathered


def _segments(start: int, stop: int, every: int | None) -> Iterator[tuple[int, int]]:
    """Cut a run where the callback is due."""
    while every is not None and start < stop:
        end = min((start // every + 1) * every, stop)
        yield start, end
        start = end
    if every is None:
        yield start, stop


def _first(due: range, start: int) -> int:
    """The first step after `start` that is due."""
    return due.start + max(0, -(-(start + 1 - due.start) // due.step)) * due.step


class _Keeper:
    """The checkpoints of one run, and the clock that ends it."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        key: PRNGKey,
        watch: Callable[[State], Any],
        due: range,
        facts: dict[str, int],
        limit_seconds: float | None,
    ) -> None:
        self._folder, self._key, self._watch, self._due = folder, key, watch, due
        self._facts = {name: np.asarray(value) for name, value in facts.items()}
        self._limit, self._began = limit_seconds, time.monotonic()
        self._saved = self._began

    def restore(self, state: State, stop: int) -> tuple[State, list[Any]]:
        """Read the newest state and the draws before it; what was given where there is none."""
        if files.latest_step(self._folder) is None:
            return state, []

        def like(step: int) -> Any:
            rows = sum(1 for count in self._due if count <= step)
            return self._tree(state, [self._rows(state, rows)] if rows else [])

        try:
            last, tree = files.restore(self._folder, like)
        except DamagedFileError:
            raise
        except ValueError as error:
            raise ValueError(
                f"checkpoint: what is in {self._folder} is of another run, or of other draws "
                f"({error}); name another folder"
            ) from error
        for name, value in self._facts.items():
            if int(tree["facts"][name]) != int(value):
                raise ValueError(
                    f"{name}: the run in {self._folder} was begun with {int(tree['facts'][name])}, "
                    f"this one is with {int(value)}; name another folder as checkpoint"
                )
        key = jax.random.key_data(tree["key"]), jax.random.key_data(self._key)
        if key[0].shape != key[1].shape or bool((key[0] != key[1]).any()):
            raise ValueError(
                f"key: the run in {self._folder} was begun with another; pass that one, or name "
                "another folder as checkpoint"
            )
        if last > stop:
            raise ValueError(
                f"checkpoint: {self._folder} holds step {last}, and this run ends at {stop}; ask "
                "for more steps, or name another folder"
            )
        # Of later files none was whole; in their place come new ones.
        files.discard_after(self._folder, last)
        return tree["state"], [tree["draws"]] if "draws" in tree else []

    def save_if_due(self, state: State, draws: list[Any]) -> None:
        """Save where the last time is long enough ago."""
        if time.monotonic() - self._saved >= SAVE_EVERY:
            self.save(state, draws)

    def end_if_over(self, state: State, draws: list[Any], done: int, stop: int) -> None:
        """Save and end the run where its seconds are over and steps are left."""
        if self._limit is None or time.monotonic() - self._began < self._limit or done == stop:
            return
        self.save(state, draws)
        raise TimeoutError(
            f"limit_seconds: {self._limit:g} s are over at step {done} of {stop}; all is "
            f"saved in {self._folder}, and the same call goes on"
        )

    def save(self, state: State, draws: list[Any]) -> None:
        """Write a checkpoint; the draws are brought together on the way."""
        if len(draws) > 1:
            draws[:] = [jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *draws)]
        step = int(jax.device_get(_steps_taken(state)))
        files.save(self._folder, step, self._tree(state, draws))
        self._saved = time.monotonic()

    def _tree(self, state: State, draws: list[Any]) -> dict[str, Any]:
        tree = {"key": self._key, "state": state, "facts": self._facts}
        return tree | {"draws": draws[0]} if draws else tree

    def _rows(self, state: State, count: int) -> Any:
        shapes = jax.eval_shape(self._watch, state)
        return jax.tree.map(lambda s: jnp.zeros((count, *s.shape[1:]), s.dtype), shapes)


class _Keys(NamedTuple):
    """The keys of a run."""

    step: PRNGKey  # folded with the step: noise, dropout
    order: PRNGKey  # folded with the epoch: which rows


Carry = tuple[State, jax.Array]
"""The state, and the permutation of the running epoch (empty where all rows are taken)."""


class _Programs(NamedTuple):
    """What is compiled for a kernel and sizes; steps and draws are arguments, so each just once."""

    order_at: Callable[[Any, _Keys], jax.Array]
    advance: Any  # (carry, data, keys) -> carry: one step
    burst: Callable[..., Carry]  # (carry, data, keys, steps) -> carry
    series: Any  # (carry, data, keys, lead, every, draws, *, room) -> (carry, rows)
    watch: Callable[[State], Any]  # state -> one row


@functools.lru_cache(maxsize=32)
def _compile(kernel: Any, collect: Any, num_rows: int, batch_size: int | None) -> _Programs:
    """Make the programs of a run; calling `sample` again in slices compiles nothing anew."""
    batches = 1 if batch_size is None else num_rows // batch_size

    def order_at(step: Any, keys: _Keys) -> jax.Array:
        if batch_size is None:
            return jnp.zeros((0,), jnp.int32)
        epoch_key = jax.random.fold_in(keys.order, step // batches)
        return jax.random.permutation(epoch_key, num_rows)

    def advance(carry: Carry, data: Batch, keys: _Keys) -> Carry:
        state, order = carry
        batch, step = data, _steps_taken(state)
        if batch_size is not None:
            place = jnp.remainder(step, batches)
            order = jax.lax.cond(place == 0, lambda: order_at(step, keys), lambda: order)
            rows = jax.lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
            batch = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), data)
        key = jax.random.fold_in(keys.step, step)
        if jnp.ndim(state.step):
            key = jax.random.split(key, state.step.shape[0])
        return kernel(state, batch, key), order

    advance = jax.jit(advance)
    compiled = functools.partial(jax.jit, donate_argnums=0, compiler_options=compiler_options())

    def burst(carry: Carry, data: Batch, keys: _Keys, steps: Any) -> Carry:
        return jax.lax.fori_loop(0, steps, lambda _, carry: advance(carry, data, keys), carry)

    def watch(state: State) -> Any:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], collect(state))

    def series(
        carry: Carry, data: Batch, keys: _Keys, lead: Any, every: Any, draws: Any, *, room: int
    ) -> tuple[Carry, Any]:
        shapes = jax.eval_shape(watch, carry[0])
        rows = jax.tree.map(lambda s: jnp.zeros((room, *s.shape[1:]), s.dtype), shapes)

        def body(draw: Any, loop: Any) -> Any:
            carry, rows = loop
            carry = burst(carry, data, keys, jnp.where(draw == 0, lead, every))
            row = watch(carry[0])
            return carry, jax.tree.map(
                lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, draw, 0), rows, row
            )

        return jax.lax.fori_loop(0, draws, body, (carry, rows))

    return _Programs(
        jax.jit(order_at),
        compiled(advance),
        compiled(burst),
        compiled(series, static_argnames="room"),
        jax.jit(watch),
    )


def _steps_taken(state: State) -> jax.Array:
    """The count, of the first chain where there are several."""
    return jnp.ravel(state.step)[0]


Progress = Iterator[tuple[Carry, int, list[Any]]]
"""Carry, steps since the last, and rows gathered since."""


class _Segment(NamedTuple):
    """A part of a run: the steps after `start` up to `stop`."""

    start: int
    stop: int
    due: range  # the steps of this part after which a row is gathered
    most: int  # the rows of the whole run; room is made for so many, whatever part this is


def _dispatched(
    programs: _Programs, carry: Carry, data: Batch, keys: _Keys, segment: _Segment
) -> Progress:
    """Take the steps of a segment one by one, a row after each that is due."""
    yield carry, 0, []
    for count in range(segment.start + 1, segment.stop + 1):
        carry = programs.advance(carry, data, keys)
        yield carry, 1, [programs.watch(carry[0])] if count in segment.due else []


def _looped(
    programs: _Programs, carry: Carry, data: Batch, keys: _Keys, segment: _Segment
) -> Progress:
    """Take them inside compiled calls, as many at a time as fit the clock."""
    start, stop, due, most = segment
    yield carry, 0, []
    if due:
        row = jax.eval_shape(programs.watch, carry[0])
        row_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(row))
        room = max(1, min(most, BUFFER // max(row_bytes, 1)))
        lead = due.start - start
        for draws in _paced(len(due), room):
            carry, rows = programs.series(carry, data, keys, lead, due.step, draws, room=room)
            kept = jax.tree.map(lambda leaf, n=draws: leaf[:n], jax.block_until_ready(rows))
            yield carry, lead + (draws - 1) * due.step, [kept]
            lead = due.step
        start = due[-1]
    for steps in _paced(stop - start, stop):
        carry = jax.block_until_ready(programs.burst(carry, data, keys, steps))
        yield carry, steps, []


def _paced(total: int, most: int) -> Iterator[int]:
    """Cut a run into lengths of about `PATIENCE` seconds each, by the clock."""
    pace, left = 1, total
    while left:
        length = min(pace, left, most)
        began = time.monotonic()
        yield length
        left -= length
        if time.monotonic() - began < PATIENCE / 2:
            pace *= 2
