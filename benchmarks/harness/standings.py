# SPDX-License-Identifier: Apache-2.0
"""Write tables with a line per task and a column per method, and say how ours compares.

Differences are taken data set by data set, on the data sets that both methods have. Ours is ahead
of a method or behind it if the mean difference is larger than its standard error, and level
otherwise. With several tasks and methods, some come out ahead or behind by chance.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.harness import markdown
from benchmarks.harness.comparison import Cell, Comparison
from benchmarks.harness.rows import Results, Row, every_row, paired
from benchmarks.harness.runner import Found, found

__all__ = ["Rows", "Tables", "differences", "first_call", "gaps", "tables"]

Rows = Mapping[tuple[str, Any], Sequence[Row]]
"""The rows of a method on a task, by the two."""

OURS = "aeb"

FLOOR = "truth"
"""No method of anybody, so that nothing is said of ours beside it."""


class Tables(NamedTuple):
    """The rows of a comparison, and the tables of a line per task that they make."""

    rows: Rows
    methods: Sequence[str]  # to show, in this order
    cells: Found[Cell]

    def there(self, tasks: Sequence[str]) -> list[str]:
        """List the tasks that have a row."""
        return [task for task in tasks if any(self.rows.get((task, m)) for m in self.methods)]

    def means(self, title: str, tasks: Sequence[str], metric: str, **options: Any) -> str:
        """Write means of a metric over data sets, by method."""
        write = markdown.column(metric, **{"digits": 3, **options})
        return by_method(title, self.rows, tasks, self.methods, write)

    def differences(self, title: str, tasks: Sequence[str], metric: str) -> str:
        """Write the differences of a metric between ours and each other method."""
        rivals = [method for method in self.methods if method != FLOOR]
        return differences(title, self.rows, tasks, rivals, markdown.metric(metric))

    def costs(self, tasks: Sequence[str]) -> tuple[str, str, str]:
        """Write the seconds of a fit and of a first call, and how all rows were made."""
        return (
            self.means("Seconds of a fit", tasks, "cpu_seconds", digits=2),
            by_method("Seconds of a first call", self.rows, tasks, self.methods, first_call),
            made(every_row(self.cells)),
        )


def tables(settings: Comparison, results: Results) -> Tables:
    """Look up the rows of a comparison."""
    cells = found(settings, results)
    rows = {(cell.task, cell.method): of_cell for cell, of_cell in cells.items()}
    return Tables(rows, settings.methods, cells)


def by_method(
    title: str,
    rows: Rows,
    tasks: Sequence[str],
    methods: Sequence[str],
    write: Callable[[Sequence[Row]], str],
) -> str:
    """Write a titled table of what `write` says of each method's rows; "" if there are none."""
    shown = [method for method in methods if any(rows.get((task, method)) for task in tasks)]
    lines = [
        [task, *(write(of) if (of := rows.get((task, m))) else "-" for m in shown)]
        for task in tasks
    ]
    return _titled(title, ["data", *shown], lines) if lines and shown else ""


def _titled(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table below a line that says what its numbers are."""
    return f"{title}:\n\n{markdown.table(heads, lines)}"


def first_call(rows: Sequence[Row]) -> str:
    """Write the mean seconds of the first calls, "-" where none was taken."""
    firsts = [row["metrics"]["first_call"] for row in rows if row["metrics"]["first_call"]]
    return f"{statistics.fmean(first['cpu'] for first in firsts):.1f}" if firsts else "-"


def gaps(rows: Rows, task: str, method: str, read: markdown.Read) -> list[float]:
    """Return our number minus that of a method, on each data set that both have."""
    pairs = paired(rows.get((task, OURS), ()), rows.get((task, method), ()))
    both = [(read(ours["metrics"]), read(theirs["metrics"])) for ours, theirs in pairs]
    return [mine - other for mine, other in both if mine is not None and other is not None]


def differences(
    title: str,
    rows: Rows,
    tasks: Sequence[str],
    methods: Sequence[str],
    read: markdown.Read,
    digits: int = 3,
) -> str:
    """Write a titled table of the differences of `gaps`. The last column says where ours stands."""
    others = [
        method
        for method in methods
        if not method.startswith(OURS) and any(rows.get((task, method)) for task in tasks)
    ]
    lines = []
    for task in tasks:
        each = {method: gaps(rows, task, method, read) for method in others}
        if any(each.values()):
            cells = [
                f"{markdown.mean(gap, digits)} ({len(gap)})" if gap else "-"
                for gap in each.values()
            ]
            lines.append([task, *cells, _words(each)])
    return _titled(title, ["data", *others, "ours is"], lines) if lines else ""


def standing(gap: Sequence[float]) -> str:
    """Say by paired differences whether ours is ahead, level or behind; less is better.

    Example:
        >>> standing([-0.3, -0.2, -0.25]), standing([0.1, -0.1, 0.02]), standing([0.3, 0.2])
        ('ahead', 'level', 'behind')
    """
    mean, error = statistics.fmean(gap), statistics.stdev(gap) / len(gap) ** 0.5
    return "level" if abs(mean) <= error else "ahead" if mean < 0 else "behind"


def _words(each: Mapping[str, Sequence[float]]) -> str:
    """Say which methods ours is behind, and which it is level with; else that it is first."""
    by: dict[str, list[str]] = {"behind": [], "level": [], "ahead": []}
    for method, gap in each.items():
        if len(gap) > 1:
            by[standing(gap)].append(method)
    said = [
        f"{word} {', '.join(by[key])}"
        for key, word in (("behind", "behind"), ("level", "level with"))
        if by[key]
    ]
    return "; ".join(said) or ("first" if by["ahead"] else "-")


def made(rows: Sequence[Row]) -> str:
    """Say how rows were made, in one line where no package has two versions.

    Methods need different packages, and `markdown.made` has a line for each lot of them.
    """
    lots = [row["metrics"]["packages"] for row in rows]
    pairs = {pair for lot in lots for pair in lot.items()}
    packages = dict(sorted(pairs))
    if len(packages) < len(pairs):
        return markdown.made(rows)
    return markdown.made([{**row, "metrics": {"packages": packages}} for row in rows])
