# SPDX-License-Identifier: Apache-2.0
"""Look at what a run starts from: what it knows, and whether it is about to lose it.

A network whose weights are all zero gives every row the same output, so its loss is that of a
guess. It is found by one step of the run's own compiled program, from zero weights, on the rows of
the first minibatch. A step from the given weights tells what the network knows.

If the guess is log k nats and the data hold labels 0 to k - 1, the loss is a cross-entropy. The
best guess then gives each class its share of the rows, and its loss is their entropy.

A run is no better than a guess while its loss is above 97 % of that. A dead network does not stay
above all of it: its biases learn the shares, and a minibatch may be easier than another. What
follows depends on the start:

    below 75 % of the guess, cross-entropy    the run has destroyed what it was given: an error
    any other cross-entropy                   it has learned nothing: a warning at its end
    below 75 %, any other loss                the same; a posterior may well be wide
    otherwise                                 nothing: zero may be the best value of the weights

The end also warns if more than a quarter of what the start knew is lost, though the run is still
better than a guess.

If the entropy is less than four fifths of log k, there is only the warning: the loss may weigh the
classes, and then the entropy is no guess.

A rule without a target prunes what the prior takes for zeros. If the prior is far wider than the
weights, that is soon nearly all of them. So the step from the given weights also tells how much of
their squared norm is set to zero.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb.precision import working_dtype
from aeb.sampling import programs as loop
from aeb.sampling.divergence import healthy
from aeb.types import Batch

__all__ = ["Start", "given_bound", "look"]

NEAR = 0.97
"""The share of the loss of a guess above which a run is no better than one."""

KNOWS = 0.75
"""The share of the loss of a guess below which a network knows something."""

ROUNDING = 1e-3
"""How far the loss of zero weights may be from log k, as a share of it."""

EVEN = 0.8
"""The share of log k above which an entropy is the guess even of a loss that weighs its classes."""

EMPTIED = 0.2
"""The share of the squared norm of the weights that a first step may set to zero.

With the widths that `aeb.spike_slab()` finds, a weight goes if it is below .36 of the typical size.
Even if all are, that is at most .13 of the squared norm. Of a network on the digits it was .01, and
.40 with v0 = .1 and v1 = 1, which left 2 % of the weights.
"""


class Start(NamedTuple):
    """What is known of a run at its start."""

    bound: Any  # f32[] or f32[C]: a loss to stay below; inf where there is none
    certain: bool  # whether it is an error not to; if not, it is warned of
    emptied: str | None = None  # that the first step sets too much to zero
    given: Any = math.nan  # f32[] or f32[C]: the loss at the start
    guess: Any = math.nan  # the loss of a guess; nan if the start knows little more than one


def given_bound(loss_bound: float | None) -> Start:
    """Return what is known without a look: the bound that the user gave, if any."""
    return Start(math.inf if loss_bound is None else loss_bound, loss_bound is not None)


def look(
    programs: loop.Programs,
    state: Any,
    data: Batch,
    keys: loop.Keys,
    *,
    data_per_chain: bool,
    by_rule: bool,
    **how: Any,
) -> Start:
    """Look at the start of a run by two steps of its own program.

    Args:
        programs: the programs of the run.
        state: the state that the run starts from.
        data: all rows.
        keys: the keys of the run.
        data_per_chain: whether the data lead with [chains].
        by_rule: whether only a prior decides how much is set to zero, as far as can be seen.
        **how: the run's own arguments of `programs.take`, so that nothing is compiled anew.

    Returns:
        What was found; nothing for a state without weights or a loss.
    """
    nothing = given_bound(None)
    if not {"position", "loss"} <= set(getattr(state, "_fields", ())):
        return nothing
    start = int(jax.device_get(loop.steps_taken(state)))

    def step_from(position: Any) -> tuple[np.ndarray, str | None]:
        """Return the loss before the step, and whether the step set much to zero."""
        own = jax.tree.map(lambda x: jnp.array(x, copy=True), state._replace(position=position))
        carry = loop.Carry(own, programs.order_at(start, keys), healthy(own))
        carry, _ = loop.take(programs, carry, data, keys, start=start, stop=start + 1, **how)
        loss = np.asarray(jax.device_get(carry.state.loss), float)
        return loss, _emptied(position, carry.state.position) if by_rule else None

    given, emptied = step_from(state.position)
    try:
        with jax.debug_nans(False), jax.debug_infs(False):
            guess, _ = step_from(jax.tree.map(jnp.zeros_like, state.position))
    except Exception:  # the user's loss at weights that it was not written for: nothing is known
        return nothing._replace(emptied=emptied)
    if not (np.isfinite(guess) & (guess > 0)).all():
        return nothing._replace(emptied=emptied, given=given)
    entropy = _entropies(data, guess, data_per_chain)
    if entropy is None:
        known = given < KNOWS * guess
        bound = np.where(known, NEAR * guess, math.inf)
        return Start(bound, False, emptied, given, np.where(known, guess, math.nan))
    knows = (given < KNOWS * entropy) & (entropy > EVEN * guess)
    guess = np.where(knows, entropy, math.nan)
    return Start(NEAR * entropy, bool(knows.all()), emptied, given, guess)


def _emptied(before: Any, after: Any) -> str | None:
    """Say that a step set to zero weights with much of the squared norm."""
    lost, norm, zeros, size = np.zeros(4)
    for given, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        old = jnp.asarray(given)
        if not jnp.issubdtype(old.dtype, jnp.inexact):
            continue
        squares = jnp.square(jnp.abs(old.astype(working_dtype(old))))
        gone = (new == 0) & (old != 0)
        lost += float(jnp.sum(jnp.where(gone, squares, 0)))
        norm += float(jnp.sum(squares))
        zeros += int(jnp.sum(new == 0))
        size += new.size
    if not lost > EMPTIED * norm:
        return None
    return (
        f"sparsify: the first step sets {zeros / size:.1%} of all weights to zero, and "
        f"{lost / norm:.0%} of their squared norm is lost. If a prior decides, it is far wider "
        "than they are, so it takes them for zeros, and soon more of them. v0 should be about as "
        "large as a weight that may go, and sqrt(v1) as one that stays: aeb.spike_slab() without "
        "numbers takes both from trained weights. If this is what you want, pass loss_bound=inf"
    )


def _entropies(data: Batch, guess: np.ndarray, data_per_chain: bool) -> np.ndarray | None:
    """Return the entropy of the labels for each chain; None if one has none."""
    if not data_per_chain:
        found = _entropy(data, float(guess.max()))
        return None if found is None else np.full_like(guess, found)
    each = [
        _entropy(jax.tree.map(lambda leaf, at=chain: leaf[at], data), float(own))
        for chain, own in enumerate(guess)
    ]
    return None if None in each else np.asarray(each, float)


def _entropy(data: Batch, guessed: float) -> float | None:
    """Return the entropy of labels of which `guessed` is a cross-entropy; None without any."""
    for leaf in jax.tree.leaves(data):
        if leaf.ndim != 1 or leaf.dtype.kind not in "iu" or not len(leaf):
            continue
        if not leaf.is_fully_addressable:  # another process has the rest
            continue
        labels = np.asarray(leaf)
        classes = int(labels.max()) + 1
        if labels.min() < 0 or classes < 2:
            continue
        if abs(guessed - math.log(classes)) > ROUNDING * math.log(classes):
            continue
        shares = np.unique_counts(labels).counts / labels.size
        found = -float(np.sum(shares * np.log(shares)))
        return found if found > 0 else None
    return None
