# SPDX-License-Identifier: Apache-2.0
"""Whether a kernel weighs its data as it should: by N, the number of examples, times the mean loss.

Two mistakes ruin a network and raise no error. The loss sums over the minibatch of B rows, so that
each gradient is B times too large. Or `num_data` is not the number of examples.

A loss that sums grows by the same amount with each copy of its rows. One that averages stays where
it is, that of a network with BatchNorm included. So the loss is read at m rows, then at two copies
of them, and it is acquitted if it grows by less than a fifth. Two things grow and are no sum: a
loss with dropout, which is random, and one that compares the rows of a batch with each other, which
grows with the logarithm of their number. So it is read at four and eight copies too. It sums if the
four lie on a line, and if eight copies add more than twice the loss of one.

To read a loss at other numbers of rows compiles it anew, which for a ResNet20 takes half as long as
the step itself does. So a run that has the right N does that only once the loss of a minibatch is
as large as few means are, and as a sum that does harm soon is: `SUSPICIOUS` for each row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb.kernel import Facts
from aeb.tree import named_leaves
from aeb.types import ArrayTree, Batch, PRNGKey

__all__ = ["SUSPICIOUS", "ScaleWatch", "sums_over_rows", "wrong_scale"]

LONG = 100
"""A call that takes this step of the chain is looked at; a chain that is shorter is soon over."""

SUSPICIOUS = 0.05
"""Loss over the number of rows, in nats, above which the loss may be their sum.

With 100 rows that is a loss of 5, more than that of guessing one of a hundred classes.
"""

ROWS = 32
"""Rows that are copied."""

GROWTH = 0.2
"""By what share of the loss it may grow with a second copy, and be acquitted."""

SLACK = 0.15
"""How far the losses of a sum may be from a line, as a share of their range."""

FACTOR = 2.0
"""How far `num_data` may be from the number of examples, as a factor."""


class ScaleWatch:
    """Looks once at how a run weighs its data, where something speaks against it.

    That is at the start if N is wrong, and else at the first loss that is large or not finite.

    Args:
        facts: of the kernel.
        state: where the run starts, of one chain or of several stacked.
        data: the rows of one chain.
        key: of the run; it is not consumed.
        batch_size: B, rows of a minibatch.
        num_steps: of this call; it is looked at if it takes step number `LONG` of the chain.
    """

    def __init__(
        self, facts: Facts, state: Any, data: Batch, key: PRNGKey, batch_size: int, num_steps: int
    ) -> None:
        self._given, self._batch_size = (facts, state, data, key), batch_size
        done = np.max(jax.device_get(state.step))
        known = facts.num_data is not None and hasattr(state, "loss")
        self._due = known and bool(done < LONG <= done + num_steps)
        self._at_once = self._due and not _has_right_count(facts, data)

    def look(self, state: Any) -> str | None:
        """Say what is wrong; None where nothing is, where that was said, or where it is not due.

        Args:
            state: of the run as it is now.
        """
        if not self._due:
            return None
        loss = np.max(np.abs(jax.device_get(state.loss)))
        taken = np.max(jax.device_get(state.step)) > np.max(jax.device_get(self._given[1].step))
        large = not loss <= SUSPICIOUS * self._batch_size  # nan too
        if not (self._at_once or (taken and large)):
            return None
        self._due = False
        facts, start, data, key = self._given
        one = start if jnp.ndim(start.step) == 0 else jax.tree.map(lambda leaf: leaf[0], start)
        return wrong_scale(facts, one, data, key, self._batch_size)


def wrong_scale(facts: Facts, state: Any, data: Batch, key: PRNGKey, batch_size: int) -> str | None:
    """Say that a loss is a sum, or that `num_data` is not the number of examples.

    Args:
        facts: of the kernel.
        state: of one chain.
        data: the rows of that chain.
        key: of the run; it is not consumed.
        batch_size: B, rows of a minibatch.

    Returns:
        What was given, what is needed and what to change; None where nothing is wrong.
    """
    if facts.num_data is None or not hasattr(state, "position"):
        return None
    rows = len(jax.tree.leaves(data)[0])
    said = None
    if facts.loss is not None:
        said = sums_over_rows(facts.loss, state.position, data, state.model_state, key)
    # With N / B for N, a sum over B rows is weighed as it should be.
    counts = (rows, *_tokens(data)) if said is None else (rows / batch_size,)
    if any(_agree(facts.num_data, count) for count in counts):
        return None
    if said is not None:
        return (
            f"loss_fn: it sums over the rows of a minibatch ({said}), needs to be their mean: each "
            "step is too large by the number of rows. Take jnp.mean for jnp.sum. A loss that "
            f"divides by a fixed number of rows is right with batch_size={batch_size} if that is "
            "the number, and wrong with any other"
        )
    return (
        f"num_data: the kernel was built with {facts.num_data:,.10g}, and data has {rows:,} rows. "
        "N weighs the data against the prior and the noise, and turns a learning rate into a step "
        f"size. Pass num_data={rows} to aeb.build_kernel, unless data is a part of a larger set"
    )


def sums_over_rows(
    loss: Callable[..., tuple[jax.Array, Any]],
    params: ArrayTree,
    data: Batch,
    model_state: Any,
    key: PRNGKey,
) -> str | None:
    """Say that a loss is a sum over the rows of its batch.

    Args:
        loss: `(params, batch, model_state, key) -> (f32[], model_state)`, a pure function.
        params: the weights.
        data: rows; the first few are read.
        model_state: what else the loss takes.
        key: tells which random generator to use; it is not consumed.

    Returns:
        The losses that show it; None where the loss is no sum, or where that cannot be told.

    Example:
        >>> def loss(w, x, model_state, key):
        ...     return jnp.sum((x - w) ** 2), model_state
        >>> sums_over_rows(loss, jnp.zeros(()), jnp.ones(4), (), jax.random.key(0))
        '4 at 4 rows, 8 at two copies of them'
    """
    program, generator = jax.jit(loss), jax.random.key_impl(key)

    def value(copies: int) -> float:
        def repeated(leaf: Any) -> jax.Array:
            return jnp.asarray(np.concatenate([np.asarray(leaf[:ROWS])] * copies))

        own = jax.random.key(copies, impl=generator)
        return float(program(params, jax.tree.map(repeated, data), model_state, own)[0])

    try:
        once, twice = value(1), value(2)
        if not abs(twice - once) > GROWTH * abs(once):  # nan too
            return None
        four, eight = value(4), value(8)
    except Exception:  # the user's code, which may take batches of one size alone: nothing is known
        return None
    grown = eight - once
    off = max(abs(twice - once - grown / 7), abs(four - once - 3 * grown / 7))
    if not (abs(grown) > 2 * abs(once) and off < SLACK * abs(grown)):
        return None
    rows = min(len(jax.tree.leaves(data)[0]), ROWS)
    return f"{once:.4g} at {rows} rows, {twice:.4g} at two copies of them"


def _has_right_count(facts: Facts, data: Batch) -> bool:
    """Return whether `num_data` is about the number of rows, or of tokens."""
    rows = len(jax.tree.leaves(data)[0])
    return any(_agree(facts.num_data or 0.0, count) for count in (rows, *_tokens(data)))


def _agree(num_data: float, count: float) -> bool:
    return count / FACTOR < num_data < count * FACTOR


def _tokens(data: Batch) -> list[int]:
    """Return how many tokens there are: a text i32[rows, length] has an example for each."""
    sizes = {np.size(leaf) for leaf in named_leaves(data).values() if leaf.dtype.kind == "i"}
    return sorted(sizes)
