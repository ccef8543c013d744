# SPDX-License-Identifier: Apache-2.0
"""The rows of the demo as the table of `docs/findings.md`."""

from __future__ import annotations

import functools

from aeb.comparison import LABELS
from benchmarks import harness
from benchmarks.demo.run import PRESETS
from benchmarks.harness import markdown
from benchmarks.harness.markdown import metric

__all__ = ["block"]

_column = functools.partial(markdown.column, deviation=True)

COLUMNS = [
    ("accuracy %", _column(metric("accuracy", times=100))),
    ("NLL", _column(metric("nll"), 3)),
    ("ECE %", _column(metric("ece", times=100))),
    ("zeros %", _column(metric("sparsity", times=100))),
    ("bytes", _column(metric("bytes"), 0)),
]


def block(results: harness.Results) -> str:
    """Make the table: a line an arm, mean and standard deviation over seeds at the final epoch."""
    (rows,) = harness.found(PRESETS["cpu"], results).values()
    arms = {
        name: [{**row, "metrics": row["metrics"][arm]} for row in rows]
        for arm, name in LABELS.items()
    }
    made = markdown.made([{**row, "metrics": {}} for row in rows])
    return markdown.join([markdown.by_cell(arms, [("", str)], COLUMNS), made]).rstrip()
