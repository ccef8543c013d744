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

A rule without a target prunes what the prior takes for zeros. If the prior is far wider than the
weights, that is soon nearly all of them. So the step from the given weights also
tells how much of their squared norm is set to zero.
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


def given_bound(loss_bound: float | None) -> Start:
    """Return what is known without a look: the bound that the user gave, if any."""
    return Start(math.inf if loss_bound is None else loss_bound, loss_bound is not None)


def look(
    programs: loop.Programs,
    state: Any,
    data: Batch,
    own_rows: Batch,
    keys: loop.Keys,
    *,
    has_target: bool,
    **how: Any,
) -> Start:
    """Look at the start of a run by two steps of its own program.

    Args:
        programs: the programs of the run.
        state: the state that the run starts from.
        data: all rows.
        own_rows: the rows of one chain.
        keys: the keys of the run.
        has_target: whether the rule has a target. Then it may set to zero what it likes.
        **how: the run's own arguments of `programs.take`, so that nothing is compiled anew.

    Returns:
        What was found; nothing for a state without weights or a loss.
    """
    if not {"position", "loss"} <= set(getattr(state, "_fields", ())):
        return given_bound(None)
    start = int(jax.device_get(loop.steps_taken(state)))

    def step_from(position: Any) -> Any:
        own = jax.tree.map(jnp.copy, state._replace(position=position))
        carry = loop.Carry(own, programs.order_at(start, keys), healthy(own))
        carry, _ = loop.take(programs, carry, data, keys, start=start, stop=start + 1, **how)
        return carry.state

    def loss_of(state: Any) -> np.ndarray:
        return np.asarray(jax.device_get(state.loss), float)

    guess = loss_of(step_from(jax.tree.map(jnp.zeros_like, state.position)))
    stepped = step_from(state.position)
    emptied = None if has_target else _emptied(state.position, stepped.position)
    entropy = _entropy(own_rows, float(np.max(guess)))
    guess = guess if entropy is None else np.full_like(guess, entropy)
    if not (np.isfinite(guess) & (guess > 0)).all():
        return given_bound(None)._replace(emptied=emptied)
    knows = loss_of(stepped) < KNOWS * guess
    if entropy is not None:
        return Start(NEAR * guess, bool(knows.all()), emptied)
    return Start(np.where(knows, NEAR * guess, math.inf), False, emptied)


def _emptied(before: Any, after: Any) -> str | None:
    """Say that a step set to zero weights with much of the squared norm."""
    lost, norm, zeros, size = np.zeros(4)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        squares = jnp.square(old.astype(working_dtype(old)))
        gone = (new == 0) & (old != 0)
        lost += float(jnp.sum(jnp.where(gone, squares, 0)))
        norm += float(jnp.sum(squares))
        zeros += int(jnp.sum(new == 0))
        size += new.size
    if not lost > EMPTIED * norm:
        return None
    return (
        f"sparsify: the first step sets {zeros / size:.1%} of all weights to zero, and "
        f"{lost / norm:.0%} of their squared norm is lost. The prior is far wider than they are, "
        "so it takes them for zeros, and soon more of them. v0 should be about as large as a "
        "weight that may go, and sqrt(v1) as one that stays: aeb.spike_slab() without numbers "
        "takes both from trained weights"
    )


def _entropy(data: Batch, guessed: float) -> float | None:
    """Return the entropy of labels of which `guessed` is a cross-entropy; None without any."""
    for leaf in jax.tree.leaves(data):
        if leaf.ndim != 1 or leaf.dtype.kind not in "iu" or not len(leaf):
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
