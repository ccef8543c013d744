# SPDX-License-Identifier: Apache-2.0
"""The rows of the demo as the table of `docs/findings.md`."""

from __future__ import annotations

import operator

from aeb.comparison import LABELS
from benchmarks import harness
from benchmarks.demo.run import PRESETS
from benchmarks.harness import markdown

__all__ = ["block"]


def block(results: harness.Results) -> str:
    """Make the table: a line an arm, mean and standard deviation over seeds at the final epoch."""
    (unit, *_) = units = PRESETS["cpu"].units()
    seeds = [seed for each in units for seed in each.seeds]
    rows = results.look_up([("demo", unit.configs[0], seeds)])["demo"]
    lines = []
    for arm, name in LABELS.items():
        scored = [row["metrics"][arm] for row in rows]
        percents = [
            markdown.mean([100 * metrics[score] for metrics in scored], deviation=spread)
            for score, spread in (("accuracy", True), ("ece", True), ("sparsity", True))
        ]
        nll = markdown.mean(list(map(operator.itemgetter("nll"), scored)), 3, deviation=True)
        size = markdown.mean(list(map(operator.itemgetter("bytes"), scored)), 0, deviation=True)
        cells = [percents[0], nll, percents[1], percents[2], size]
        lines.append([name, *(cells if scored else [markdown.NOT_RUN] * len(cells))])
    heads = ["", "accuracy %", "NLL", "ECE %", "zeros %", "bytes"]
    made = markdown.made([{**row, "metrics": {}} for row in rows])
    return markdown.join([markdown.table(heads, lines), made]).rstrip()
