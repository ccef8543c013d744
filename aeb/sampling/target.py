# SPDX-License-Identifier: Apache-2.0
"""Tell whether a run ends before its sparsity ramp has reached the target.

    raise     refuse a run that is too short, before its first step
    warn      warn at the end, and say what was reached
    ignore    do nothing, for all but the last call of a run that is split into several

The target is the value of the ramp after infinitely many steps. A run falls short if the ramp is
more than a tenth of a percentage point below it at the end. The ramp and the number of steps are
known on the host, so the loop does nothing for this. A rule without a ramp has no target. A kernel
that the user wrapped may have one, but it cannot be seen.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb.tree import select
from aeb.types import Target

__all__ = ["POLICIES", "shortfall"]

POLICIES = ("raise", "warn", "ignore")

SLACK = 1e-3
"""How far a run may fall short of its target, as a share of the chosen weights."""

END = 2**31 - 1
"""A step that no run reaches. The ramp is at its target there."""


def shortfall(target: Target | None, state: Any, step: int, *, ended: bool = False) -> str | None:
    """Say that the ramp is not at its target after a step, or return None.

    Args:
        target: the target of the kernel; None if it has no ramp.
        state: the state of one chain or of several.
        step: the number of steps taken.
        ended: whether `state` is the state after this step, so that its zeros are counted. By
            default only the shapes of its weights are used.

    Returns:
        What is short and what to change; None if nothing is short.
    """
    if target is None or not hasattr(state, "position"):
        return None
    shapes = jax.eval_shape(_of_one_chain, state)
    asked, wanted = (1.0 - float(target.kept(shapes, at, target.where)) for at in (step, END))
    if asked >= wanted - SLACK:
        return None
    found = (
        f"{_zeros(target, state):.2%} of the chosen weights are zero after step {step}"
        if ended
        else f"the ramp asks for {asked:.2%} zeros in the chosen leaves after step {step}"
    )
    return (
        f"sparsify: {found}, short of the {wanted:.2%} that the ramp comes to. Take more steps, or "
        "give the ramp the steps that the run has, aeb.sparsity_ramp(..., num_steps=...). In a run "
        'of several calls pass missed="ignore" to all but the last'
    )


def _zeros(target: Target, state: Any) -> float:
    """Return the share of zeros among the chosen weights; the smallest over several chains."""
    chains = bool(jnp.ndim(state.step))
    leaves = select(state.position, target.where).values()
    counts = sum(
        (leaf == 0).sum(axis=tuple(range(int(chains), leaf.ndim)), dtype=jnp.int32)
        for leaf in leaves
    )
    size = sum(leaf.size // (len(leaf) if chains else 1) for leaf in leaves)
    return float(np.min(jax.device_get(counts)) / size)


def _of_one_chain(state: Any) -> Any:
    """Return the weights of the first chain."""
    if not jnp.ndim(state.step):
        return state.position
    return jax.tree.map(lambda leaf: leaf[0], state.position)
