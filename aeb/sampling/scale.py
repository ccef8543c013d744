# SPDX-License-Identifier: Apache-2.0
"""Check that a kernel weights its data correctly: N times the mean loss, for N examples.

Two mistakes ruin a network without raising an error. In one, the loss is a sum over the B rows of
the minibatch, so each gradient is B times too large. In the other, `num_data` is not the number of
examples.

A loss that sums grows by the same amount with each copy of its rows. A loss that averages does not
change, even with BatchNorm. So the loss is evaluated on m rows, then on two copies of them. If it
grows by less than a fifth, it is not a sum. Two other kinds of loss grow: one with dropout, which
is random, and one that compares the rows of a batch with each other, which grows with the logarithm
of their number. So the loss is also evaluated on four and eight copies. It is a sum if the four
values lie on a line, and if eight copies add more than twice the loss of one.

Evaluating a loss on other numbers of rows compiles it again. For a ResNet20 this takes half as long
as compiling the step itself. So if N is right, the check is made only once the loss of a minibatch
exceeds `SUSPICIOUS` per row. Few means are that large, and a harmful sum soon is.
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
"""Only a call that takes this step of the chain is checked. Shorter chains are soon over."""

SUSPICIOUS = 0.05
"""The loss per row, in nats, above which the loss may be a sum over rows.

With 100 rows this is a loss of 5, more than that of guessing one of a hundred classes.
"""

ROWS = 32
"""The number of rows that are copied."""

GROWTH = 0.2
"""The relative growth of the loss with a second copy up to which it is not a sum."""

SLACK = 0.15
"""How far the values of a sum may be from a line, as a share of their range."""

FACTOR = 2.0
"""How far `num_data` may be from the number of examples, as a factor."""


class ScaleWatch:
    """Checks once how a run weights its data, if something looks wrong.

    This happens at the start if N is wrong, and otherwise at the first loss that is large or not
    finite.

    Args:
        facts: the facts of the kernel.
        state: the first state, of one chain or of several stacked.
        data: the rows of one chain.
        key: the key of the run; it is not consumed.
        batch_size: B, the rows of a minibatch.
        num_steps: the number of steps in this call. It is checked if it takes step `LONG` of the
            chain.
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
        """Say what is wrong. Return None if nothing is, if it was said, or if no check is due.

        Args:
            state: the current state of the run.
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
        facts: the facts of the kernel.
        state: the state of one chain.
        data: the rows of that chain.
        key: the key of the run; it is not consumed.
        batch_size: B, the rows of a minibatch.

    Returns:
        What was given, what is needed and what to change; None if nothing is wrong.
    """
    if facts.num_data is None or not hasattr(state, "position"):
        return None
    rows = len(jax.tree.leaves(data)[0])
    said = None
    if facts.loss is not None:
        said = sums_over_rows(facts.loss, state.position, data, state.model_state, key)
    # If N / B is given for N, a sum over B rows is weighted correctly.
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
        data: rows, of which the first few are used.
        model_state: what else the loss takes.
        key: tells which random generator to use; it is not consumed.

    Returns:
        The losses that show it; None if the loss is not a sum, or if this cannot be determined.

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
    """Return the numbers of tokens. In a text i32[rows, length], each token is an example."""
    sizes = {np.size(leaf) for leaf in named_leaves(data).values() if leaf.dtype.kind == "i"}
    return sorted(sizes)
