# SPDX-License-Identifier: Apache-2.0
"""Detect that a run diverges, and act as the user asked.

    raise     raise a DivergenceError that names the step, the leaf and what to try
    stop      return the last finite state, with a DivergenceWarning that says the same
    skip      undo a step whose result is not finite; the next has other rows and other noise
    ignore    go on

A value has diverged if it was finite and no longer is. So an infinity that the user put into the
model state is not a divergence, and neither is the loss of a state before its first step. A nan
loss always is. A run has also diverged if its recent loss stays above a bound for a tenth of the
steps in a row, and for at least 100. If only the last 20 steps are above it, a DivergenceWarning
says so. The bound may be the loss of a constant guess; `aeb.sampling.start` finds it if none is
given.

The recent loss m is a running mean of that of the minibatches, m <- m + (loss - m) / 20. The loss
of a single minibatch would not do: that of a dead network falls below the bound now and then, where
a minibatch is easier than another. A loss counts as twice the bound at most, so that one outlier
does not stay in m for long.

Implementation: "raise" and "stop" check the loss at each step. The loop carries the first step at
which it diverged, and the number of steps for which it has been above the bound. This costs
nothing. After each compiled call, which takes about a second, they check the whole state. "stop"
also copies the state before each call. If the call diverges, it repeats the steps from that copy,
up to the last finite one. "skip" compares the whole state at each step: it reads the state twice
more, and needs memory for a second one.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb.tree import path_of
from aeb.types import Batch

__all__ = [
    "LAST_ABOVE",
    "LEAST_ABOVE",
    "LOST_AFTER",
    "POLICIES",
    "SIGN",
    "DivergenceError",
    "DivergenceWarning",
    "Health",
    "Watch",
    "about",
    "healthy",
    "ignore",
    "observe",
    "skip",
    "sound",
    "take_where",
]

POLICIES = ("raise", "stop", "skip", "ignore")

PATIENCE = 100
"""The most steps in a row that "skip" may undo."""

LEAST_ABOVE = 100
"""The most steps in a row for which a loss may be above its bound."""

LOST_AFTER = 0.1
"""The share of a run for which it may be, if that is more."""

LAST_ABOVE = 20
"""The steps in a row up to the end of a run for which it may not be."""

WINDOW = 20
"""The number of minibatches whose loss the recent loss is about the mean of."""

MOST_FORGOTTEN = 0.25
"""The share of what a network knew beyond a guess that a run may lose without a word."""

ADVICE = (
    "Try a smaller learning rate or step size, a tenth of this one to begin with. "
    'divergence="stop" returns the last finite state, "skip" leaves out such steps'
)


LOST_ADVICE = (
    "Try a smaller learning rate or step size, a tenth of this one to begin with. A v0 or v1 of "
    "your own may be out of the scale of the weights. If you want so wide a posterior, pass "
    "loss_bound=inf"
)


LEARNED_NOTHING = (
    "If the network was to learn: the learning rate may be far too small or too large, the rows "
    "and their targets in different orders, or the weights at a bad start. To look for nothing, "
    "pass loss_bound=inf"
)

SIGN = (
    " The loss is below 0 at the start. If it is a log-likelihood, take its negative: a step makes "
    "the loss smaller."
)

FORGOT_ADVICE = (
    "Try more steps, a lower sparsity, a prior whose widths fit the weights (aeb.spike_slab() "
    "without numbers), or another learning rate: too small a one does not mend what is pruned. If "
    "you want so wide a posterior, pass loss_bound=inf"
)


class DivergenceError(FloatingPointError):
    """A run diverged: its loss or its state is no longer finite, or the loss stayed too high.

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean(x) * jnp.nan, num_data=4)
        >>> state, key = algorithm.init(jnp.ones(1)), jax.random.key(0)
        >>> settings = {"num_steps": 2, "batch_size": 4, "progress": False}
        >>> try:
        ...     aeb.sample(kernel, state, jnp.ones(4), key, **settings)
        ... except DivergenceError:
        ...     print("diverged")
        diverged
    """


class DivergenceWarning(UserWarning):
    """A run ended early, or skipped steps, because it diverged.

    Example:
        >>> import aeb, warnings
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean(x) * jnp.nan, num_data=4)
        >>> state, key = algorithm.init(jnp.ones(1)), jax.random.key(0)
        >>> settings = {"num_steps": 2, "batch_size": 4, "progress": False}
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     _ = aeb.sample(kernel, state, jnp.ones(4), key, divergence="stop", **settings)
        >>> [warning.category.__name__ for warning in caught]
        ['DivergenceWarning']
    """


class Health(NamedTuple):
    """What the loop records, for each of C chains if there are several."""

    first: jax.Array  # i32[] or i32[C]: the first step whose loss diverged, 0 for none
    skipped: jax.Array  # i32[] or i32[C]: the number of skipped steps
    in_a_row: jax.Array  # i32[] or i32[C]: the number of skipped steps just before this one
    recent: jax.Array  # f32[] or f32[C]: the recent loss; nan before the first step
    above: jax.Array  # i32[] or i32[C]: the number of steps in a row for which it has been too high
    bound: jax.Array  # f32[] or f32[C]: a higher loss is too high; inf for no bound


def healthy(state: Any, loss_bound: Any = None) -> Health:
    """Return the health of a run before its first step; the bound may be one for each chain."""
    first, skipped, in_a_row, above = (jnp.zeros_like(state.step) for _ in range(4))
    # Of one type, whether it was found or given: another would compile the loop again.
    bound = jnp.asarray(jnp.inf if loss_bound is None else loss_bound, jnp.float32)
    bound = jnp.broadcast_to(bound, jnp.shape(state.step))
    return Health(first, skipped, in_a_row, jnp.full_like(bound, jnp.nan), above, bound)


def ignore(old: Any, new: Any, health: Health) -> tuple[Any, Health]:
    """Record nothing."""
    del old
    return new, health


def observe(old: Any, new: Any, health: Health) -> tuple[Any, Health]:
    """Record the first step whose loss diverged."""
    found = (health.first == 0) & ~_loss_is_sound(old, new)
    health = health._replace(first=jnp.where(found, new.step, health.first))
    return new, _count_above(new, health)


def skip(old: Any, new: Any, health: Health) -> tuple[Any, Health]:
    """Go back to the old state if the new one diverged. The step still counts."""
    fine = sound(old, new)
    first = jnp.where((health.first == 0) & ~fine, new.step, health.first)
    missed = jnp.where(fine, 0, 1)
    in_a_row = (health.in_a_row + 1) * missed
    health = health._replace(first=first, skipped=health.skipped + missed, in_a_row=in_a_row)
    state = take_where(fine, new, old)._replace(step=new.step)
    return state, _count_above(state, health)


def sound(old: Any, new: Any) -> jax.Array:
    """Return whether nothing diverged in a step, bool[] or bool[C]."""

    def kept(old: jax.Array, new: jax.Array) -> jax.Array:
        fine = jnp.isfinite(new) | ~jnp.isfinite(old)
        return fine.all(axis=tuple(range(new_step.ndim, fine.ndim)))

    new_step, fine = new.step, _loss_is_sound(old, new)
    for before, after in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
        if jnp.issubdtype(after.dtype, jnp.inexact):
            fine = fine & kept(before, after)
    return fine


def take_where(choice: jax.Array, new: Any, old: Any) -> Any:
    """Take the new state where `choice` is true, for each chain if there are several."""

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(choice.reshape(choice.shape + (1,) * (new.ndim - choice.ndim)), new, old)

    return jax.tree.map(pick, new, old)


class Watch:
    """The host side of a policy. It reads what the loop recorded, and says what is wrong."""

    def __init__(self, state: Any, data: Batch, policy: str) -> None:
        self.policy, self.hint = policy, ""
        self._data, self._chains = data, bool(jnp.ndim(state.step))
        self._paths = [path for path, _ in _inexact(state)]
        # The user chose the values that are not finite at the start; see the module docstring.
        self._given = None if policy == "ignore" else self._not_finite(state)
        if self._given is not None:
            self._check_start(self._given)

    def look(self, state: Any, health: Health, start: int, stop: int) -> str | None:
        """Say how the steps after `start` up to `stop` diverged, or return None."""
        if self._given is None:
            return None
        first, in_a_row = np.atleast_1d(*jax.device_get((health.first, health.in_a_row)))
        if self.policy == "skip":
            return self._at_a_stand(in_a_row, stop) if in_a_row.max() >= PATIENCE else None
        bad = self._not_finite(state) & ~self._given
        diverged = bad.any(axis=0) | (first > 0)
        if not diverged.any():
            return None
        seen = first[first > 0]
        when = f"at step {seen.min()}" if seen.size else f"between steps {start} and {stop}"
        leaves = [path for path, row in zip(self._paths, bad, strict=True) if row.any()]
        return self._message(when, "the loss" if seen.size else None, leaves, diverged)

    def lost(self, health: Health, stop: int, least: float, *, knew: bool) -> str | None:
        """Say that the recent loss has been too high for `least` steps in a row, or return None.

        Args:
            health: the health after the last step.
            stop: the number of that step.
            least: the number of steps.
            knew: whether the network was better than a guess at the start.
        """
        above, bound = np.atleast_1d(*jax.device_get((health.above, health.bound)))
        if self._given is None or above.max() < least:
            return None
        where = f" in {int((above > 0).sum())} of {above.size} chains" if self._chains else ""
        return (
            f"divergence: up to step {stop} the recent loss{where} was above loss_bound="
            f"{bound[above.argmax()]:.4g} for {above.max()} steps in a row, no better than a guess."
            f"{about(self._data)} {LOST_ADVICE if knew else LEARNED_NOTHING}"
        )

    def forgot(self, health: Health, given: Any, guess: Any) -> str | None:
        """Say that a run lost much of what its start knew, or return None.

        Args:
            health: the health at the end of the run.
            given: f32[] or f32[C], the loss at the start.
            guess: the loss of a guess, of the same shape; nan if the start knew nothing.
        """
        recent = np.asarray(jax.device_get(health.recent), float)
        with np.errstate(invalid="ignore"):
            lost = (recent - given) / (guess - given)
        much = np.atleast_1d(lost > MOST_FORGOTTEN)
        if self._given is None or not much.any():
            return None
        worst = np.nanargmax(np.atleast_1d(lost))
        began, ended, guessed = (
            np.atleast_1d(np.broadcast_to(each, recent.shape))[worst]
            for each in (given, recent, guess)
        )
        where = f" in {int(much.sum())} of {much.size} chains" if self._chains else ""
        return (
            f"the run lost {np.nanmax(lost):.0%} of what the network knew beyond a guess{where}: "
            f"its loss was {began:.4g} at the start and is {ended:.4g} at the end, and a guess has "
            f"{guessed:.4g}. {FORGOT_ADVICE}"
        )

    def skipped(self, health: Health) -> str | None:
        """Say how many steps were skipped in all, or return None if none was."""
        most = int(np.max(jax.device_get(health.skipped)))
        if self.policy != "skip" or not most:
            return None
        first = np.atleast_1d(jax.device_get(health.first))
        of = " of one chain" if self._chains else ""
        return (
            f"divergence: {most} steps{of} were not taken, the first at step "
            f"{first[first > 0].min()}, for their result was not finite.{about(self._data)}"
        )

    def _at_a_stand(self, in_a_row: np.ndarray, stop: int) -> str:
        stuck = int((in_a_row >= PATIENCE).sum())
        where = f" in {stuck} of {in_a_row.size} chains" if self._chains else ""
        return (
            f"divergence: up to step {stop} none of the last {in_a_row.max()} steps{where} had a "
            f"finite result.{about(self._data)} Try a smaller learning rate or step size"
        )

    def _message(self, when: str, loss: str | None, leaves: list[str], diverged: Any) -> str:
        weights = [path for path in leaves if path.startswith("position")] or leaves
        parts = [loss] if loss else []
        if weights:
            more = f" and {len(weights) - 2} more" if len(weights) > 2 else ""
            parts.append(", ".join(repr(path) for path in weights[:2]) + more)
        count = int(diverged.sum())
        where = f" in {count} of {diverged.size} chains," if self._chains else ""
        return (
            f"divergence: {when},{where} not finite any more: {'; '.join(parts)}."
            f"{about(self._data)}{self.hint} {ADVICE}"
        )

    def _not_finite(self, state: Any) -> np.ndarray:
        """Return which leaves of which chains are not finite, bool[leaves, C or 1]."""
        leaves = [leaf for _, leaf in _inexact(state)]
        return np.asarray(_not_finite(leaves, self._chains)) if leaves else np.zeros((0, 1), bool)

    def _check_start(self, given: np.ndarray) -> None:
        for path, row in zip(self._paths, given, strict=True):
            if path.startswith("position") and row.any():
                raise ValueError(
                    f"state: {path!r} holds values that are not finite before the first step; "
                    'divergence="ignore" goes on with them'
                )


def _count_above(state: Any, health: Health) -> Health:
    """Update the recent loss, and count the steps in a row for which it is above the bound."""
    if getattr(state, "loss", None) is None:
        return health
    bound = health.bound
    twice = bound + jnp.where(bound == 0, 1, jnp.abs(bound))
    loss = jnp.minimum(state.loss.astype(bound.dtype), twice)
    recent = health.recent + (loss - health.recent) / WINDOW
    recent = jnp.where(jnp.isnan(health.recent), loss, recent)
    return health._replace(recent=recent, above=jnp.where(recent > bound, health.above + 1, 0))


def _loss_is_sound(old: Any, new: Any) -> jax.Array:
    """Return whether the loss did not diverge; true if the state has no loss."""
    if getattr(new, "loss", None) is None:
        return jnp.ones(jnp.shape(new.step), bool)
    return jnp.isfinite(new.loss) | (~jnp.isfinite(old.loss) & ~jnp.isnan(new.loss))


@functools.partial(jax.jit, static_argnums=1)
def _not_finite(leaves: list[jax.Array], chains: bool) -> jax.Array:
    def one(leaf: jax.Array) -> jax.Array:
        bad = (~jnp.isfinite(leaf)).any(axis=tuple(range(int(chains), leaf.ndim)))
        return jnp.atleast_1d(bad)

    return jnp.stack([one(leaf) for leaf in leaves])


def _inexact(tree: Any) -> list[tuple[str, jax.Array]]:
    """List the floating-point leaves of a tree with their paths."""
    entries = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [
        (path_of(path), leaf) for path, leaf in entries if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]


def about(data: Batch) -> str:
    """Return a last sentence for a message if the data contain values that are not finite.

    Args:
        data: a pytree of arrays.

    Returns:
        A sentence that begins with a space; "" if all values are finite.

    Example:
        >>> about(jnp.array([1.0, jnp.nan]))
        ' In data, the array holds values that are not finite, the first at [1]: look there.'
    """
    for path, leaf in _inexact(data):
        if not bool(jnp.isfinite(leaf).all()):
            name = f"leaf {path!r}" if path else "the array"
            first = np.unravel_index(int(jnp.argmin(jnp.isfinite(leaf))), leaf.shape)
            at = f"the first at [{', '.join(str(place) for place in first)}]"
            return f" In data, {name} holds values that are not finite, {at}: look there."
    return ""
