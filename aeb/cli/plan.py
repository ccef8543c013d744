# SPDX-License-Identifier: Apache-2.0
"""Describe what a run with the user's own network would do, before it does it.

A step needs these bytes for p weights of w bytes each, of which q may be pruned:

    weights, momentum, gradient    3 p w
    latents of the prior           3 max(4, w) q      rho, kappa0, kappa1
    mask                           q                  if there is a target
    Fisher information             max(4, w) q        if weights are ranked by it
    rows                           training, held-out and test rows

The activations of a minibatch come on top. They depend on the network and are not counted.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from aeb.tree import named_leaves, select
from aeb.types import ArrayTree, Where
from aeb.usage import UsageError

__all__ = ["LeafPlan", "RunPlan", "plan_leaves"]


class LeafPlan(NamedTuple):
    """What happens to one leaf."""

    path: str
    shape: tuple[int, ...]
    size: int
    bytes: int
    why_not: str | None  # why it stays dense; None if it may be pruned


class RunPlan(NamedTuple):
    """A run that was checked but has not started. `print` shows it."""

    title: str
    leaves: tuple[LeafPlan, ...]
    sparsity: float | None
    num_data: int
    num_held_out: int
    num_test: int
    row_bytes: int
    batch_size: int
    dense_steps: int  # 0 if trained weights were given
    num_steps: int
    dense_by: str = "Adam"
    arms: int = 1  # the number of ways to compress, each with as many steps
    rank: str = "magnitude"  # what weights are ranked by, as in `aeb.compress`

    @property
    def size(self) -> int:
        """The number of weights."""
        return sum(leaf.size for leaf in self.leaves)

    @property
    def prunable(self) -> int:
        """The number of weights that may be pruned."""
        return sum(leaf.size for leaf in self.leaves if leaf.why_not is None)

    @property
    def state_bytes(self) -> int:
        """The bytes of weights, momentum, gradient, latents and what the rule remembers."""
        weights = 3 * sum(leaf.bytes for leaf in self.leaves)
        pruned = [leaf for leaf in self.leaves if leaf.why_not is None]
        latent = sum(max(4 * leaf.size, leaf.bytes) for leaf in pruned)
        rule = 0
        if self.sparsity is not None:
            rule = self.prunable + (latent if self.rank == "fisher" else 0)
        return weights + 3 * latent + rule

    def check_reach(self) -> None:
        """Raise a UsageError if the leaves that may be pruned are too few for the target."""
        if self.sparsity is not None and self.sparsity * self.size > self.prunable:
            raise UsageError(
                f"--sparsity: {self.sparsity:g} of all {self.size:,} weights is more than the "
                f"{self.prunable:,} that may be pruned ({self.prunable / self.size:.1%}); ask for "
                "less, or choose more leaves with --where"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan in a form that fits into JSON."""
        leaves = [
            leaf._asdict() | {"shape": list(leaf.shape), "sparse": leaf.why_not is None}
            for leaf in self.leaves
        ]
        totals = {
            "size": self.size,
            "prunable": self.prunable,
            "state_bytes": self.state_bytes,
        }
        return self._asdict() | {"leaves": leaves} | totals

    def __str__(self) -> str:
        rows = [("leaf", "shape", "weights", "sparse")]
        for leaf in self.leaves:
            shape = "x".join(map(str, leaf.shape))
            sparse = "yes" if leaf.why_not is None else f"no: {leaf.why_not}"
            rows.append((leaf.path or "(array)", shape, f"{leaf.size:,}", sparse))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            f"{path:<{widths[0]}}  {shape:<{widths[1]}}  {size:>{widths[2]}}  {sparse}"
            for path, shape, size, sparse in rows
        ]
        if self.sparsity is None:
            target = "the prior decides how many go"
        else:
            target = f"{self.sparsity:.1%} of all are to be zero, {self._zeros:,}"
        facts = [
            ("weights", f"{self.size:,}, {self.prunable:,} may be pruned; {target}"),
            (
                "rows",
                f"{self.num_data:,} to train on, {self.num_held_out:,} held out, "
                f"{self.num_test:,} to test on",
            ),
            ("first", f"{self.dense_steps:,} steps of dense training by {self.dense_by}"),
            (
                "compress",
                f"{'' if self.arms == 1 else f'{self.arms} times '}{self.num_steps:,} steps of "
                f"{self.batch_size:,} rows, {self._epochs}",
            ),
            (
                "memory",
                f"{_bytes(self.state_bytes)} for gradient and state of the sampler,",
            ),
            (
                "",
                f"{_bytes(self.row_bytes)} for the rows, and what the layers hold of a minibatch",
            ),
        ]
        if not self.dense_steps:
            del facts[2]
        return "\n".join(
            [self.title, "", *lines, "", *(f"{name:<10}{text}" for name, text in facts)]
        )

    @property
    def _zeros(self) -> int:
        return round((self.sparsity or 0.0) * self.size)

    @property
    def _epochs(self) -> str:
        return f"{self.num_steps * self.batch_size / self.num_data:.3g} epochs"


def plan_leaves(params: ArrayTree, model_state: Any, where: Where) -> tuple[LeafPlan, ...]:
    """Determine for each leaf whether it may be pruned, and if not, why not.

    Args:
        params: the weights, arrays or `jax.ShapeDtypeStruct`.
        model_state: what else the model carries.
        where: the rule, as in `aeb.compress`.

    Returns:
        A `LeafPlan` per leaf. The leaves of the model state have no weights.
    """
    chosen = select(params, where)
    fault = "a bias or a scale" if where is None else "--where does not choose it"
    plans = []
    for named, why_not in (
        (named_leaves(params), fault),
        (named_leaves(model_state), "no weight, a running moment or a counter"),
    ):
        for path, leaf in named.items():
            size = math.prod(leaf.shape) if why_not == fault else 0
            is_chosen = why_not == fault and path in chosen
            plans.append(
                LeafPlan(
                    path,
                    tuple(leaf.shape),
                    size,
                    size * leaf.dtype.itemsize,
                    None if is_chosen else why_not,
                )
            )
    return tuple(plans)


def _bytes(count: int) -> str:
    """Write a number of bytes in a suitable unit."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count / 1e3:.3g} kB"
