# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/what-it-does.md, from the rows of the reduced size."""

from __future__ import annotations

from benchmarks import harness
from benchmarks.compression.parts import against, averaged, cut, percent, prior
from benchmarks.compression.run import PRESETS
from benchmarks.compression.table import command, final, found
from benchmarks.harness import markdown

__all__ = ["blocks"]


def blocks(results: harness.Results) -> dict[str, str]:
    """Make the tables by the name of their marks.

    Args:
        results: the rows of the compression script.

    Returns:
        Name to Markdown; "not run" where there is no row.

    Raises:
        UsageError: the rows are damaged.
    """
    rows = found(PRESETS["cpu"], results)
    used = [row for own in rows.values() for row in own]
    dense = [
        percent(row["metrics"]) for cell, own in rows.items() for row in own if cell.arm == "dense"
    ]
    text = f"{markdown.mean(dense, deviation=True)} %" if dense else markdown.NOT_RUN
    parts = {
        "size": f"{command('cpu')} The dense networks have {text}.\n\n{markdown.made(used)}",
        "accuracy": final(rows),
        "control": against(rows),
        "prior": prior(rows),
        "average": averaged(rows),
        "cut": cut(rows),
    }
    return {name: block.strip() for name, block in parts.items()}
