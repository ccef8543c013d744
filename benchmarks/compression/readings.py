# SPDX-License-Identifier: Apache-2.0
"""What the tables and the figure read off the rows."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks import harness
from benchmarks.compression.arms import ARMS, ArmName
from benchmarks.compression.run import Cell
from benchmarks.harness import markdown

__all__ = [
    "Found",
    "dense_accuracies",
    "felt",
    "gains",
    "label",
    "over",
    "per_cent",
    "percent",
]

Found = dict[Cell, list[harness.Row]]
"""Each cell's rows there are, one a seed."""

over = functools.partial(markdown.over, deviation=True, count=True)
"""Write a mean over seeds, their deviation and their number."""


def percent(metrics: Any) -> float:
    """Read the accuracy of the last epoch in per cent."""
    return 100 * float(metrics["accuracy"])


def dense_accuracies(rows: Found) -> list[float]:
    """Read that of each dense network."""
    return [
        percent(row["metrics"])
        for cell, seeds in rows.items()
        for row in seeds
        if cell.arm == "dense"
    ]


def per_cent(share: float) -> str:
    """Write a share such as a sparsity."""
    return f"{100 * share:g} %"


def label(arm: ArmName, start: str) -> str:
    """Name an arm, and the authors' start."""
    return ARMS[arm].label + (", from the authors' dense" if start == "authors" else "")


def gains(rows: Found, cell: Cell) -> str:
    """Write the mean gain of a cell over the control, seed by seed."""
    control = {row["seed"]: row for row in rows.get(cell._replace(arm="control"), [])}
    values = [
        percent(row["metrics"]) - percent(control[row["seed"]]["metrics"])
        for row in rows[cell]
        if row["seed"] in control
    ]
    return f"{markdown.mean(values)} ({len(values)})" if values else markdown.NOT_RUN


def felt(rows: Iterable[harness.Row], beside: str) -> float:
    """Injected noise over the `step` or the `weight`, at the look where it is largest.

    The median over seeds; infinite where the gradient's part is lost in the noise.
    """
    histories: list[Sequence[Any]] = [row["metrics"]["history"] for row in rows]
    looks = [max(history, key=lambda look: look["noise"]) for history in histories]
    return statistics.median(
        look["noise"] / look[beside] if look[beside] else math.inf for look in looks
    )
