# SPDX-License-Identifier: Apache-2.0
"""Find a learning rate by a short range test.

The test tries the rates of a geometric grid, from the lowest up. Each rate takes a few steps from
the same state on the same minibatches, without noise, and is judged by its mean loss over the last
quarter of these steps. The test ends at the first rate whose loss is not finite, or higher than the
loss without any training. The answer is the rate with the lowest loss, but at most a quarter of
the rate that ended the test, because a rate that is stable for a few steps may diverge in a run.

Reference: Smith, WACV 2017, for the range test; here each rate starts afresh.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb import guards
from aeb.empirical_bayes import State
from aeb.types import Batch, Kernel, PRNGKey

__all__ = ["tune"]

FACTOR = 2.0
"""The factor between one rate and the next."""

MARGIN = 4.0
"""The answer is smaller than the rate that ended the test by at least this factor."""


def tune(
    kernel: Kernel,
    state: State,
    data: Batch,
    key: PRNGKey,
    *,
    batch_size: int,
    num_steps: int = 60,
    lowest: float = 1e-4,
    highest: float = 10.0,
) -> float:
    """Compute a learning rate for the mean loss by a short range test.

    Start from a state that still has something to learn, such as an untrained network, or a trained
    one that was pruned. At the minimum of the loss, the lowest rate looks best. The momentum of the
    sampler, the prior and the pruning of the kernel act as they do in a run.

    Args:
        kernel: made by `aeb.build_kernel`; the learning rate of its dynamics is not used.
        state: where each rate starts; it is left as it is.
        data: a pytree of arrays that share their leading axis.
        key: for the minibatches; consumed.
        batch_size: the number of rows in a minibatch, in [1, rows].
        num_steps: the number of steps that each rate takes, >= 4.
        lowest: the first rate to try, > 0.
        highest: the upper end of the rates to try.

    Returns:
        The learning rate, to be given to a dynamics as `learning_rate=`.

    Raises:
        ValueError: an argument is out of its range, or no rate within [lowest, highest] is better
            than both its neighbours and safely below the one that diverges.
        TypeError: `key` is not a typed key.

    Example:
        >>> import aeb
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1.0), aeb.gaussian(), gain=0.0)
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w) ** 2), num_data=64)
        >>> rows = 3.0 + jax.random.normal(jax.random.key(0), (64, 1))
        >>> rate = tune(
        ...     kernel, algorithm.init(jnp.zeros(1)), rows, jax.random.key(1), batch_size=32
        ... )
        >>> 0.01 < rate < 0.5
        True
    """
    guards.check_key("key", key)
    num_rows = guards.check_data("data", data)
    guards.whole("batch_size", batch_size, 1)
    guards.within("batch_size", batch_size, f"[1, {num_rows}]")
    guards.whole("num_steps", num_steps, 4)
    guards.positive("lowest", lowest)
    guards.within("highest", highest, f"({lowest}, inf)")
    data = jax.tree.map(jnp.asarray, data)

    @jax.jit
    def step(state: State, rate: Any, key: PRNGKey) -> State:
        row_key, step_key = jax.random.split(key)
        rows = jax.random.randint(row_key, (batch_size,), 0, num_rows)
        batch = jax.tree.map(lambda leaf: leaf[rows], data)
        new: State = kernel(state, batch, step_key, learning_rate=rate, temperature=0.0)
        return new

    def losses(rate: float) -> np.ndarray:
        """Return the losses of the steps that a rate takes."""
        carry, found = state, []
        for k in range(num_steps):
            carry = step(carry, jnp.float32(rate), jax.random.fold_in(key, k))
            found.append(carry.loss)
        return np.asarray(jax.device_get(found), float)

    grid = lowest * FACTOR ** np.arange(math.floor(math.log(highest / lowest, FACTOR)) + 1)
    last = slice(-(num_steps // 4), None)
    still = float(losses(0.0)[last].mean())
    reached: list[float] = []
    safe = math.inf
    for rate in grid:
        path = losses(float(rate))
        end = float(path[last].mean())
        if not np.isfinite(path).all() or end > still:
            safe = float(rate) / MARGIN
            break
        reached.append(end)
    if not reached or safe < lowest:
        raise ValueError(
            f"lowest: from {lowest:g} on the loss rises; give a lower one, or start from a state "
            "that has something left to learn"
        )
    best = int(np.argmin(reached))
    if best == 0 or (best == len(grid) - 1 and not math.isfinite(safe)):
        end_name = "lowest" if best == 0 else "highest"
        raise ValueError(
            f"{end_name}: the rate at this end, {grid[best]:g}, reached the lowest loss, "
            f"{reached[best]:.4g}; move it further out"
        )
    return min(float(grid[best]), safe)
