# SPDX-License-Identifier: Apache-2.0
"""What the tables share: Markdown, a mean with its error, how the rows were made.

Most tables have a line for each cell of an experiment, which is all that fixes its rows but the
seed. `by_cell` makes them of three things: the cells with their rows, what names a line, and what
each column reads off the rows of a cell:

    by_cell(
        results.look_up(...),
        [("arm", lambda cell: cell.arm)],
        [("accuracy", column("accuracy", times=100)), ("NLL", column("nll", digits=3))],
    )
"""

import functools
import operator
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from benchmarks.harness.rows import Row

__all__ = [
    "NOT_RUN",
    "Column",
    "Read",
    "by_cell",
    "column",
    "join",
    "made",
    "mean",
    "metric",
    "over",
    "picture",
    "table",
]

K = TypeVar("K")

NOT_RUN = "not run"

Read = Callable[[Any], float | None]
"""What reads a number off the metrics of a row; None where it was not finite."""

Column = Callable[[Sequence[Row]], str]
"""What a column says of the rows of a line."""


def join(parts: Iterable[str]) -> str:
    """Put parts of a page one below the other, and leave out those that are empty."""
    return "\n\n".join(part for part in parts if part) + "\n"


def picture(title: str, name: str, words: str) -> str:
    """Show a figure, and say in words what it shows."""
    return f"![{title}](figures/{name})\n\n{words}"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [[head.strip() for head in heads], ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def by_cell(
    found: Mapping[K, Sequence[Row]],
    names: Sequence[tuple[str, Callable[[K], str]]],
    columns: Sequence[tuple[str, Column]],
) -> str:
    """Write a table of a line for each cell; "" where there is none.

    Args:
        found: the rows of each cell.
        names: heads and what they say of the cell.
        columns: heads and what they say of its rows; "not run" where there are none.
    """
    lines = [
        [
            *(name(cell) for _, name in names),
            *(say(rows) if rows else NOT_RUN for _, say in columns),
        ]
        for cell, rows in found.items()
    ]
    return table([head for head, _ in (*names, *columns)], lines) if lines else ""


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
    read: Read,
    digits: int = 2,
    *,
    count: bool = False,
    **options: Any,
) -> str:
    """Write the mean of a number over rows, as `mean` does.

    Args:
        rows: to take the mean over.
        read: from the metrics of a row to its number, None where it was not finite.
        digits: after the point.
        count: say in brackets how many rows there are.
        **options: those of `mean`.

    Returns:
        Such as "3.28 ± 0.03", and "not run" where there is no row.
    """
    if not rows:
        return NOT_RUN
    values = [read(row["metrics"]) for row in rows]
    text = mean(values, digits, **options)
    return f"{text} ({len(rows)})" if count else text


def column(*path: str | int, times: float = 1, **options: Any) -> Column:
    """Make a column of the means of the metric under these names; options are those of `over`."""
    return lambda rows: over(rows, metric(*path, times=times), **options)


def metric(*path: str | int, times: float = 1) -> Read:
    """Make what reads the metric under these names, in a unit of which it has so many."""

    def read(metrics: Any) -> float | None:
        value = functools.reduce(operator.getitem, path, metrics)
        return None if value is None else times * value

    return read


def made(rows: Sequence[Row]) -> str:
    """Say how rows were made; "" where there are none."""
    ways: dict[str, set[str]] = {}
    for row in rows:
        versions = {"jax": row["versions"]["jax"], **row["metrics"].get("packages", {})}
        said = [_machine(row["hardware"]), *(f"{name} {at}" for name, at in versions.items())]
        ways.setdefault(", ".join(said), set()).add(f"{row['commit']} ({row['date']})")
    text = [f"{by}, commit {', '.join(sorted(commits))}" for by, commits in sorted(ways.items())]
    return f"Made on: {'; '.join(text)}." if text else ""


def _machine(hardware: Mapping[str, Any]) -> str:
    """Name a machine; rows of old do not tell the family and instructions of its processor."""
    name = hardware["accelerator"] or hardware["cpu"]
    if not hardware["accelerator"] and "instructions" in hardware:
        name += f" (family {hardware['family']}: {hardware['instructions']})"
    cores = hardware["cores"]
    return f"{name}, 1 core" if cores == 1 else f"{name}, {cores} cores"
