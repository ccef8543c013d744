# SPDX-License-Identifier: Apache-2.0
"""The rows as the table of `docs/findings.md`."""

import functools

from aeb.comparison import LABELS
from benchmarks import harness
from benchmarks.demo.run import PRESETS
from benchmarks.harness import markdown

_column = functools.partial(markdown.column, deviation=True)

COLUMNS = [
    ("accuracy %", _column("accuracy", times=100)),
    ("NLL", _column("nll", digits=3)),
    ("ECE %", _column("ece", times=100)),
    ("zeros %", _column("sparsity", times=100)),
    ("bytes", _column("bytes", digits=0)),
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
