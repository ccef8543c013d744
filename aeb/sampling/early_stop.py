# SPDX-License-Identifier: Apache-2.0
"""End a run that no longer improves on held-out rows.

This is a callback for `aeb.sample` and `aeb.compress`. It scores each state that it gets, keeps the
best, and ends the run after `patience` scores in a row that are no better. While weights are being
pruned, scores get worse because of the pruning. So scores before `begin` are recorded, but do not
count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from aeb import guards
from aeb.sampling.programs import steps_taken

__all__ = ["EarlyStop", "Score"]


class Score(NamedTuple):
    """One look at a run."""

    step: int  # steps taken
    value: float  # lower is better


class EarlyStop:
    """A callback that ends a run that no longer improves, and keeps its best state.

    A run that is resumed from a checkpoint is judged only by the scores since then.

    Args:
        score: `state -> number`, where lower is better, such as the loss on held-out rows. It is
            called on the host, so compile what it calls. For `aeb.compress` it is
            `look -> number`, such as `lambda look: look.loss`.
        patience: the number of scores in a row, none better than the best, that end the run; >= 1.
        begin: the number of steps before the first score that counts, >= 0. With a sparsity ramp,
            take the steps that it needs to reach its target.

    Attributes:
        history: all scores, as `Score`s.
        best: the best score that counts; None before the first.
        best_state: the state with that score. With `aeb.compress` it is the `Look`.

    Raises:
        ValueError: `patience` or `begin` is too small.

    Example:
        >>> import aeb, jax.numpy as jnp
        >>> descent = aeb.sgld(learning_rate=0.3, temperature=0.0)
        >>> algorithm = aeb.empirical_bayes(descent, aeb.gaussian(), gain=0.0)
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w) ** 2), num_data=4)
        >>> watch = EarlyStop(lambda state: jnp.sum((state.position - 0.5) ** 2), patience=3)
        >>> state, _ = aeb.sample(
        ...     kernel, algorithm.init(jnp.zeros(1)), jnp.ones((4, 1)), jax.random.key(0),
        ...     num_steps=100, batch_size=None, callback=watch, callback_every=1, progress=False,
        ... )
        >>> watch.best.step, int(state.step)
        (1, 4)
    """

    def __init__(self, score: Callable[[Any], Any], *, patience: int = 5, begin: int = 0) -> None:
        guards.whole("patience", patience, 1)
        guards.whole("begin", begin, 0)
        self._score, self._patience, self._begin = score, patience, begin
        self.history: list[Score] = []
        self.best: Score | None = None
        self.best_state: Any = None

    def __call__(self, state: Any) -> bool:
        """Score a state, and return whether the run should end."""
        look = Score(int(jax.device_get(steps_taken(state))), float(self._score(state)))
        self.history.append(look)
        if look.step < self._begin:
            return False
        if self.best is None or look.value < self.best.value or math.isnan(self.best.value):
            self.best, self.best_state = look, state
        after = [other for other in self.history if other.step > self.best.step]
        return len(after) >= self._patience

    def __repr__(self) -> str:
        return f"EarlyStop({len(self.history)} looks, best={self.best})"
