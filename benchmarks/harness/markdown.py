# SPDX-License-Identifier: Apache-2.0
"""What the tables share: Markdown, a mean with its error, how the rows were made."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.harness.rows import Row

__all__ = ["NOT_RUN", "Column", "column", "join", "made", "mean", "over", "table"]

NOT_RUN = "not run"

Column = Callable[[Sequence[Row]], str]
"""What makes a cell of some rows."""


def join(parts: Iterable[str]) -> str:
    """Put parts of a page one below the other, and leave out those that are empty."""
    return "\n\n".join(part for part in parts if part) + "\n"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    rows = [[head.strip() for head in heads], ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def mean(
    values: Sequence[float | None],
    digits: int = 2,
    *,
    lost: str | None = None,
    deviation: bool = False,
) -> str:
    """Write a mean and its standard error.

    Args:
        values: one a row; None where it was not finite.
        digits: after the point.
        lost: what to call a row without a number. Such rows are counted; the word stands alone
            where all are so.
        deviation: write the standard deviation in the place of the error.

    Returns:
        Such as "3.28 ± 0.03", or "-" where nothing is known.
    """
    numbers = [value for value in values if value is not None]
    if not numbers:
        return lost or "-"
    text = f"{statistics.fmean(numbers):.{digits}f}"
    if len(numbers) > 1:
        spread = statistics.stdev(numbers) / (1.0 if deviation else len(numbers) ** 0.5)
        text += f" ± {spread:.{digits}f}"
    missing = len(values) - len(numbers)
    return text + (f" ({missing} {lost or 'without'})" if missing else "")


def over(
    rows: Sequence[Row],
    read: Callable[[Any], float | None],
    digits: int = 2,
    *,
    lost: str | None = None,
    deviation: bool = False,
    count: bool = False,
) -> str:
    """Write the mean of a number over rows, as `mean` does.

    Args:
        rows: to take the mean over.
        read: from the metrics of a row to its number, None where it was not finite.
        digits: after the point.
        lost: what to call a row without a number. Such rows are counted; the word stands alone
            where all are so.
        deviation: write the standard deviation in the place of the error.
        count: say in brackets how many rows there are.

    Returns:
        Such as "3.28 ± 0.03", and "not run" where there is no row.
    """
    if not rows:
        return NOT_RUN
    values = [read(row["metrics"]) for row in rows]
    text = mean(values, digits, lost=lost, deviation=deviation)
    return f"{text} ({len(rows)})" if count else text


def column(read: Callable[[Any], float | None], digits: int = 2) -> Column:
    """Make a column of such means."""
    return lambda rows: over(rows, read, digits)


def made(rows: Sequence[Row]) -> str:
    """Say how rows were made; "" where there are none."""
    ways: dict[str, set[str]] = {}
    for row in rows:
        hardware, packages = row["hardware"], row["metrics"].get("packages", {})
        cores = "1 core" if hardware["cores"] == 1 else f"{hardware['cores']} cores"
        by = f"{hardware['accelerator'] or hardware['cpu']}, {cores}, "
        names = {"jax": row["versions"]["jax"], **packages}
        by += ", ".join(f"{name} {version}" for name, version in names.items())
        ways.setdefault(by, set()).add(f"{row['commit']} ({row['date']})")
    said = [f"{by}, commit {', '.join(sorted(commits))}" for by, commits in sorted(ways.items())]
    return f"Made on: {'; '.join(said)}." if said else ""
