# SPDX-License-Identifier: Apache-2.0
"""Pruning 90 % of the weights by magnitude, against thresholds found by a sort and by top-k.

All three return the pruned array. Exactness is checked on normal weights, where ties are rare, and
on weights of few distinct values: `zeros` counts, and `same` says whether all weights below the
threshold of the sort are zero and all above it are kept. The sort and top-k cannot tell ties apart.
"""

import dataclasses
import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from benchmarks.harness.ranges import whole
from benchmarks.speed.clock import Clock, Race, make_races, repeating

__all__ = ["Threshold"]

SPARSITY = 0.9


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Choosing what to prune."""

    # Weights, a row each.
    sizes: tuple[Annotated[int, whole(10)], ...] = (100_000, 1_000_000, 10_000_000)

    def races(self) -> list[Race]:
        return make_races("threshold", self, _run, {"sizes": "size"}, sparsity=SPARSITY)


def _run(clock: Clock, size: int) -> dict[str, Any]:
    zeros = round(SPARSITY * size)
    weights = jax.random.normal(jax.random.key(0), (size,), jnp.float32)
    tied = jnp.round(weights * 4.0) / 4.0 + 0.125
    programs = {
        "ours": jax.jit(_ours),
        "sort": jax.jit(functools.partial(_sort, zeros)),
        "top_k": jax.jit(functools.partial(_top_k, zeros)),
    }
    contenders = {
        name: repeating(functools.partial(prune, weights)) for name, prune in programs.items()
    }
    return {
        "zeros": zeros,
        "exact": {
            kind: {name: _check(prune(x), x, zeros) for name, prune in programs.items()}
            for kind, x in (("normal", weights), ("tied", tied))
        },
        "seconds": clock.race(contenders),
    }


def _ours(weights: jax.Array) -> Any:
    rule = aeb.magnitude(SPARSITY, scope="global")
    return rule.apply(weights, (), None, (), 0, lambda path, leaf: True)[0]


def _sort(zeros: int, weights: jax.Array) -> jax.Array:
    threshold = jnp.sort(jnp.abs(weights))[zeros - 1]
    return jnp.where(jnp.abs(weights) <= threshold, 0.0, weights)


def _top_k(zeros: int, weights: jax.Array) -> jax.Array:
    kept, _ = jax.lax.top_k(jnp.abs(weights), weights.size - zeros)
    return jnp.where(jnp.abs(weights) < kept[-1], 0.0, weights)


def _check(pruned: Any, weights: Any, zeros: int) -> dict[str, Any]:
    """Count the zeros, and compare what is kept with the order of a sort."""
    pruned, size = np.asarray(pruned), np.abs(np.asarray(weights))
    level = np.partition(size, zeros - 1)[zeros - 1]
    same = not pruned[size < level].any() and bool((pruned[size > level] != 0).all())
    return {"zeros": int((pruned == 0).sum()), "same": same}
