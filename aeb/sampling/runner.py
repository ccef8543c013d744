# SPDX-License-Identifier: Apache-2.0
"""Run a kernel for many steps with the data on the device.

The rows and the key of a step depend only on the key of the run and on the number of the step
(`aeb.sampling.programs` says how). So you can stop a run anywhere and call `sample` again with the
state it returned: the run goes on as if it had never stopped. With `checkpoint`, `sample` saves as
it goes. After a crash or a time limit, make the same call again, and the run goes on from the last
save.

Each epoch omits N mod B rows, and different ones each time.

The loop is compiled, including the shuffling, and called in pieces of about a second. On a CPU, the
gradients of JAX's own convolution are far slower inside a compiled loop than outside. So on a CPU a
kernel with such gradients is called step by step. `aeb.models.conv_general_dilated` avoids that.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from aeb import guards
from aeb.empirical_bayes import State
from aeb.kernel import facts_of
from aeb.sampling import programs as loop
from aeb.sampling import start as beginning
from aeb.sampling import target
from aeb.sampling.divergence import (
    LAST_ABOVE,
    LEAST_ABOVE,
    LOST_AFTER,
    POLICIES,
    SIGN,
    DivergenceError,
    DivergenceWarning,
    Watch,
    healthy,
)
from aeb.sampling.keeper import Keeper
from aeb.sampling.scale import ScaleWatch
from aeb.types import Batch, Kernel, PRNGKey
from aeb.xla.compilation import collapses_in_a_loop

__all__ = ["sample"]

PATIENCE = 1.0
"""Seconds that one compiled call may take before the progress bar moves."""

ENOUGH = 8
"""The least number of steps per call if steps are slow, to spread the cost of the call.

A call takes its memory from the system and gives it back. This took an eighth of a ResNet20 step at
batch 100 (.46 s, 190 MB) when each call had at most two steps (docs/lab-notes.md).
"""

LONGEST = 10.0
"""Seconds that a call of no more than `ENOUGH` steps may take."""

BUFFER = 2**26
"""Bytes of draws that one compiled call may gather."""


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
    warmup: int = 0,
    callback: Callable[[State], Any] | None = None,
    callback_every: int = 100,
    checkpoint: str | os.PathLike[str] | None = None,
    limit_seconds: float | None = None,
    data_per_chain: bool = False,
    divergence: str = "raise",
    loss_bound: float | None = None,
    missed: str = "raise",
    progress: bool = True,
) -> tuple[State, Any]:
    """Run a kernel for many steps, and collect draws along the way.

    Args:
        kernel: `(state, batch, key) -> state`, from `aeb.build_kernel`, or from `aeb.chains` to run
            C chains at once. The state of a kernel of your own may hold more, such as a running
            mean. `sample` itself reads `state.step`, and `state.loss` for the progress bar.
        state: where to start. For C chains, stack their states, so that the first axis of each
            array is C. All chains must have taken the same number of steps.
        data: a pytree of arrays with N rows each, along their first axis. They move to the device
            once. With `data_per_chain` the first two axes are [C, N]. To augment minibatches, do so
            in the loss: with `has_aux` it gets a new key at each step.
        key: a typed key for the whole run. Keep it to resume. With `data_per_chain`, or if
            `batch_size` is None, it may be an array of C keys. Then each chain is the run that it
            would be alone with its key.
        num_steps: the number of steps to take, >= 0.
        batch_size: B, the rows of a minibatch, in [1, N]. None takes all rows, in order.
        collect: a pure function of the state of one chain, whose values are returned as draws. It
            is called after each step whose number is a multiple of `every`. None collects nothing.
            A later call with the same kernel and the same function needs no compilation.
        every: the number of steps between two draws.
        warmup: the number of steps at the start that give no draws, in [0, num_steps]; with
            `collect`, few enough that a draw is due after them.
        callback: a function of the state, called on the host after each step whose number is a
            multiple of `callback_every`, and after the last step. It cannot change the run, but it
            can end it: return True, as `aeb.EarlyStop` does, or raise. After a crash, a run with
            `checkpoint` repeats the calls made since the last save.
        callback_every: the number of steps between two calls.
        checkpoint: a folder for this run alone. State and draws are saved there about once a minute
            and at the end. If it already holds a save, the run goes on from there, and `state` must
            be the one the run began with. A call with another key, start, batch size, thinning,
            warmup or number of rows is refused. A change of the kernel goes unnoticed, so give each
            kernel a folder of its own.
        limit_seconds: the number of seconds, > 0, after which to save and raise a TimeoutError. It
            needs `checkpoint`, so that the same call can go on later. The clock is read between
            compiled calls, which take about a second each.
        data_per_chain: whether each chain has its own rows, and its own order of minibatches. The
            kernel must then be `aeb.chains(kernel, same_batch=False)`. By default all chains take
            the same minibatches of the same rows.
        divergence: what to do when the loss or the state is no longer finite. "raise" raises a
            `DivergenceError` within about a second. "stop" returns the last finite state with a
            `DivergenceWarning`. "skip" undoes steps whose result is not finite, and reports their
            number at the end. "ignore" goes on. Only "skip" slows the loop: it reads the state
            twice more at each step.
        loss_bound: the loss of a network that only guesses, such as log(classes). A run has
            diverged if its recent loss, a running mean over about 20 minibatches, stays above it
            for a tenth of `num_steps`, and at least for 100 steps in a row. With "stop" it ends
            there. If only the last 20 steps are above it, the end warns. None looks for it in calls
            of 100 steps or more, by a step from zero weights and one from `state`, so your loss is
            called there too. It is then .97 times the loss of zero weights, or of the labels'
            shares if the loss is a cross-entropy. To stay above it is an error for a classifier
            whose loss at `state` was below .75 of a guess. For one that was not, and for other
            losses that were, the end warns. It also warns if more than half of what the network at
            `state` knew is lost. inf looks for nothing.
        missed: what to do if the run ends before the sparsity ramp reaches its target. "raise"
            refuses such a run before its first step, and warns if a callback ended it too early.
            "warn" says at the end what was reached. "ignore" says nothing. If you split a run into
            several calls, use it in all but the last. If you wrap a kernel in a function of your
            own, `sample` cannot see the ramp.
        progress: whether to show a progress bar with the loss.

    Returns:
        The final state, and the draws, or None if nothing was collected. The first axis of each
        array of draws is [draws]. With chains the first two are [chains, draws], even if C is 1.

    Warns:
        UserWarning: the run ended short of its sparsity target, no better than a guess, or without
            half of what it knew at the start. The call that takes the 100th step also warns, before
            its first step, if the loss is a sum over the rows of a minibatch, or if the kernel's
            `num_data` and the number of rows differ by a factor of two. So does a call of 100 steps
            or more if its first step sets much of the weights to zero, though no ramp asks for it.

    Raises:
        ValueError: an argument is out of its range, the arrays of `data` differ in length, the
            checkpoint belongs to another run, or the run is too short for its ramp and `missed` is
            "raise".
        TypeError: `key` is not a typed key; `state` is not the state of a chain, or is traced;
            `data` holds text or objects.
        TimeoutError: the time is over, and everything is saved.
        aeb.DivergenceError: the run diverged, or its first step sets much of a trained classifier
            to zero though no ramp asks for it. The message says where, and what to try. What
            `checkpoint` holds is still finite.

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

        Three chains, each with its own four rows:

        >>> states = jax.vmap(algorithm.init)(jnp.zeros((3, 1)))
        >>> states, draws = sample(
        ...     aeb.chains(kernel, same_batch=False), states, jnp.ones((3, 4, 1)),
        ...     jax.random.key(0), num_steps=10, batch_size=2, collect=lambda s: s.position,
        ...     every=5, data_per_chain=True, progress=False,
        ... )
        >>> draws.shape
        (3, 2, 1)
    """
    guards.whole("num_steps", num_steps, 0)
    guards.whole("every", every, 1)
    guards.whole("warmup", warmup, 0)
    guards.within("warmup", warmup, f"[0, {num_steps}]")
    guards.whole("callback_every", callback_every, 1)
    if checkpoint is not None:
        guards.check_folder("checkpoint", checkpoint)
    if limit_seconds is not None:
        guards.positive("limit_seconds", limit_seconds)
        if checkpoint is None:
            raise ValueError("limit_seconds: it needs a folder to save in; name a checkpoint")
    guards.one_of("divergence", divergence, POLICIES)
    guards.one_of("missed", missed, target.POLICIES)
    if divergence == "skip" and "step" not in getattr(state, "_fields", ()):
        raise TypeError("divergence: 'skip' needs a state with a field `step`, such as aeb.State")
    if loss_bound is not None:
        guards.within("loss_bound", loss_bound, "(-inf, inf]")
        if "loss" not in getattr(state, "_fields", ()):
            raise TypeError("loss_bound: it needs a state with a field `loss`, such as aeb.State")
    if not hasattr(state, "step"):
        raise TypeError(
            f"state: got {type(state).__name__}, needs to be the state of a chain, which has a "
            "step; pass algorithm.init(params)"
        )
    if isinstance(state.step, jax.core.Tracer):
        raise TypeError(
            "state: it is being traced; call aeb.sample outside jax.jit, jax.vmap and jax.grad: it "
            "compiles its own loop. For many chains at once there is aeb.chains(kernel)"
        )
    chains = jnp.shape(state.step)[0] if jnp.ndim(state.step) else None
    num_rows = _num_rows(data, chains, data_per_chain)
    if batch_size is not None:
        guards.whole("batch_size", batch_size, 1)
        guards.within("batch_size", batch_size, f"[1, {num_rows}]")
    _check_key(key, chains, own_rows=data_per_chain or batch_size is None)
    guards.check_numbers("data", data)
    data = jax.tree.map(jnp.asarray, data)
    keys = loop.Keys.of(key, chains if data_per_chain else None)
    programs = loop.build(
        cast(Any, kernel), collect, num_rows, batch_size, data_per_chain, divergence
    )
    start = int(jax.device_get(loop.steps_taken(state)))
    stop = start + num_steps
    known = facts_of(kernel)
    goal = None if missed == "ignore" or not num_steps else known.target
    too_short = target.shortfall(goal, state, stop)
    if too_short is not None and missed == "raise":
        raise ValueError(too_short)
    own_rows = jax.tree.map(lambda leaf: leaf[0], data) if data_per_chain else data
    size = num_rows if batch_size is None else batch_size
    scale = ScaleWatch(known, state, own_rows, key, size, num_steps)
    _warn(scale.look(state))
    due = _due(start + warmup, stop, every) if collect is not None else range(0)
    if collect is not None and warmup and not due:
        raise ValueError(
            f"warmup: of num_steps={num_steps} steps {warmup} are warm-up, and with every={every} "
            "no draw is due after them; num_steps counts the warm-up too"
        )
    watch = Watch(state, data, divergence)
    carry = loop.Carry(_copy(state), programs.order_at(start, keys), healthy(state))
    dispatch = collapses_in_a_loop(programs.advance, carry, data, keys)
    del carry
    room = 1
    if due:
        room = max(1, min(len(due), BUFFER // max(loop.row_bytes(programs, state), 1)))
    how: Any = {"due": due, "room": room, "dispatch": dispatch}
    at_start = beginning.given_bound(loss_bound)
    if loss_bound is None and divergence != "ignore" and num_steps >= LEAST_ABOVE:
        by_rule = known.num_data is not None and known.target is None
        at_start = beginning.look(
            programs, state, data, keys, data_per_chain=data_per_chain, by_rule=by_rule, **how
        )
    if at_start.emptied is not None and at_start.certain and divergence == "raise":
        raise DivergenceError(at_start.emptied)
    _warn(at_start.emptied)
    if np.any(np.asarray(at_start.given) < 0):
        watch.hint = SIGN
    state = _copy(state)  # the loop reuses the buffers of its input
    draws: list[Any] = []
    keeper = None
    if checkpoint is not None:
        facts = {
            "start": start,
            "batch_size": size,
            "rows": num_rows,
            "every": every if collect is not None else 0,
        }
        if warmup:
            facts["warmup"] = warmup
        keeper = Keeper(checkpoint, key, programs.watch, due, facts, limit_seconds)
        state, draws = keeper.restore(state, stop)
    done = int(jax.device_get(loop.steps_taken(state)))
    carry = loop.Carry(state, programs.order_at(done, keys), healthy(state, at_start.bound))
    pace, stopped = _Pace(), False
    with _Bar(num_steps, done - start, progress) as bar:
        while done < stop:
            called = stop if callback is None else min(_after(done, callback_every), stop)
            end = int(min(done + pace.steps, called, _filled(due, done, room)))
            began = time.monotonic()
            before = _copy(carry) if divergence == "stop" else None
            carry, rows = loop.take(programs, carry, data, keys, start=done, stop=end, **how)
            pace.update(end - done, time.monotonic() - began)
            _warn(scale.look(carry.state))
            wrong = watch.look(carry.state, carry.health, done, end)
            if wrong is not None and before is None:
                raise DivergenceError(wrong)
            if wrong is not None:
                carry = programs.until_bad(before, data, keys, end - done)
                end = stop = int(jax.device_get(loop.steps_taken(carry.state)))
                rows = loop.first(rows, len(loop.within(due, done, end)))
                warnings.warn(f"{wrong}; stopped after step {end}", DivergenceWarning, stacklevel=2)
            long = max(LEAST_ABOVE, LOST_AFTER * num_steps)
            lost = None
            if at_start.certain:
                lost = watch.lost(carry.health, end, long, knew=True)
            if lost is not None and divergence != "stop":
                raise DivergenceError(lost)
            if lost is not None:
                stop, stopped = end, True
                warnings.warn(f"{lost}; stopped after step {end}", DivergenceWarning, stacklevel=2)
            draws += rows
            bar.update(end - done, carry.state)
            done = end
            if keeper is not None:
                keeper.save_if_due(carry.state, draws)
            if callback is not None and done in (called, stop):
                stop = done if _is_true(callback(_copy(carry.state))) else stop
            if keeper is not None:  # after the callback, so that none is lost
                keeper.end_if_over(carry.state, draws, done, stop)
    if keeper is not None:
        keeper.save(carry.state, draws)
    long = LAST_ABOVE if at_start.certain else max(LEAST_ABOVE, LOST_AFTER * num_steps)
    knew = at_start.certain or np.isfinite(at_start.guess).any()
    lost = None if stopped else watch.lost(carry.health, done, long, knew=bool(knew))
    if lost is None and not stopped:
        _warn(watch.forgot(carry.health, at_start.given, at_start.guess))
    for said in (watch.skipped(carry.health), lost):
        if said is not None:
            warnings.warn(said, DivergenceWarning, stacklevel=2)
    _warn(None if missed == "ignore" else target.shortfall(goal, carry.state, done, ended=True))
    return carry.state, _gathered(draws, chains is not None)


def _warn(message: str | None) -> None:
    """Warn the caller of `sample`, if there is something to say."""
    if message is not None:
        warnings.warn(message, stacklevel=3)


def _num_rows(data: Batch, chains: int | None, data_per_chain: bool) -> int:
    """Check the leading axes of the data and return N."""
    size = guards.check_data("data", data)
    if not data_per_chain:
        return size
    if chains is None:
        raise ValueError("data_per_chain: the state is of one chain; stack those of several")
    if size != chains:
        raise ValueError(
            f"data: it leads with {size} where the state leads with {chains} chains; with "
            "data_per_chain each array has to lead with [chains, rows]"
        )
    return guards.check_data("data", jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], data))


def _check_key(key: PRNGKey, chains: int | None, *, own_rows: bool) -> None:
    """Require one typed key, or one per chain if the chains do not share their minibatches."""
    many = chains is not None and own_rows and jnp.ndim(key) > 0
    guards.check_key("key", key, many=many)
    if many and key.shape != (chains,):
        raise ValueError(f"key: got {key.shape[0]} keys for {chains} chains; pass one, or one each")


def _is_true(answer: Any) -> bool:
    """Return whether a callback returned True, and not just a truthy value."""
    if hasattr(answer, "dtype"):
        return bool(answer.dtype == bool) and bool(answer)
    return answer is True


def _copy(state: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)


def _after(step: int, every: int) -> int:
    """Return the first multiple of `every` after a step."""
    return (step // every + 1) * every


def _due(start: int, stop: int, every: int) -> range:
    """Return the steps after `start` and up to `stop` that are multiples of `every`."""
    return range(_after(start, every), stop + 1, every)


def _filled(due: range, start: int, room: int) -> int | float:
    """Return the last step before the first draw without room; inf if all draws have room."""
    rest = loop.within(due, start, due.stop)
    return rest[room] - 1 if len(rest) > room else float("inf")


def _gathered(draws: list[Any], chains: bool) -> Any:
    """Concatenate the rows, with chains as the first axis."""
    if not draws:
        return None
    tree = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *draws)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree) if chains else tree


class _Pace:
    """The number of steps in a call, learned from the clock.

    A call lasts about `PATIENCE` seconds, or up to `LONGEST` to have `ENOUGH` steps.
    """

    def __init__(self) -> None:
        self.steps = 1

    def update(self, steps: int, seconds: float) -> None:
        """Learn from the time of a call. Calls that were cut short do not count."""
        if steps == self.steps and seconds < (LONGEST if steps < ENOUGH else PATIENCE) / 2:
            self.steps *= 2
        elif seconds > 2 * (LONGEST if steps <= ENOUGH else PATIENCE):
            self.steps = max(1, self.steps // 2)


class _Bar:
    """A progress bar that shows the loss a few times a second."""

    def __init__(self, total: int, initial: int, progress: bool) -> None:
        self._bar = tqdm(total=total, initial=initial, disable=not progress, unit="step")
        self._progress, self._shown = progress, time.monotonic()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, steps: int, state: Any) -> None:
        """Advance the bar by some steps."""
        self._bar.update(steps)
        loss = getattr(state, "loss", None)
        if self._progress and loss is not None and time.monotonic() - self._shown > 0.2:
            self._shown = time.monotonic()
            self._bar.set_postfix(loss=f"{jax.device_get(loss).mean():.4f}", refresh=False)
