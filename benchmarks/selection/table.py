# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.selection import designs, real
from benchmarks.selection.recipe import Cell, Method
from benchmarks.selection.run import PRESETS, Selection
from benchmarks.selection.scores import BINS

__all__ = ["found", "report"]

Rows = Mapping[tuple[str, Method], Sequence[harness.Row]]
"""The rows of a method on a task, by the two."""

WORDS = {
    "independent": "independent columns",
    "ar": "correlation {r:g}^|i - j|",
    "blocks": f"blocks of {designs.BLOCK} columns, correlation {{r:g}} inside",
    "equal": "correlation {r:g} between all columns",
    "factors": f"{designs.FACTORS} hidden factors",
    "genotypes": "human genotypes, standardised",
}

WITH_INCLUSION: tuple[Method, ...] = ("aeb", "aeb, v0 = 0", "susie", "millipede")

NOTE = """\
Mean over data sets ± its standard error; in brackets behind an error, how many data sets. The error
is the expected squared error on a new row, intercept included, known from the design; its floor is
the variance of the noise. All methods see the same rows, and none is told the number of signals.
"Behind the best": the error of `aeb.regression` less that of the best other method, data set by
data set, so that a negative number is a lead; the best other method, ours with v0 = 0 left out, is
the one with the least mean error on that design, which favours it. A find is a coefficient that is
not 0, or an inclusion probability above 0.5 where a method gives one; ridge keeps every column.
Seconds are processor seconds of one fit, compiled before. A rival with "-" was not given the
design, because one fit takes many minutes there."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    """Make the section of the report (`harness.Section`)."""
    settings = PRESETS[preset]
    table = found(settings, results)
    rows: Rows = {(cell.task, cell.method): of_cell for cell, of_cell in table.items()}
    known = [name for name in settings.designs if _any(rows, name, settings)]
    tasks = [name for name in settings.tasks if _any(rows, name, settings)]
    parts = [
        "## Variable selection, on many designs and on real data",
        f"`python -m benchmarks.selection --preset {preset}`",
        NOTE if known else markdown.NOT_RUN,
        _designs(known),
        _by_method(
            "error", settings, rows, known, lambda of: markdown.over(of, ERROR, 3, count=True)
        ),
        _behind(settings, rows, known),
        _by_method("true finds", settings, rows, known, lambda of: markdown.over(of, TRUE, 1)),
        _by_method("false finds", settings, rows, known, lambda of: markdown.over(of, FALSE, 1)),
        _calibration(rows, known),
        _covered(rows, known),
        _by_method(
            "squared error over the variance of y, ten folds",
            settings,
            rows,
            tasks,
            lambda of: markdown.over(of, markdown.metric("relative_error"), 3),
        ),
        _by_method(
            "processor seconds of a fit",
            settings,
            rows,
            [*known, *tasks],
            lambda of: markdown.over(of, markdown.metric("cpu_seconds"), 2),
        ),
        markdown.made([row for of_cell in table.values() for row in of_cell]),
    ]
    return markdown.join(parts)


def found(settings: Selection, results: harness.Results) -> dict[Cell, list[harness.Row]]:
    """Look up the rows of each cell, one a data set or a fold."""
    return results.look_up(
        (
            cell,
            settings.config(cell),
            range(cell.repeats)
            if cell.task in real.TASKS
            else range(settings.seed, settings.seed + cell.repeats),
        )
        for cell in settings.cells()
    )


ERROR = markdown.metric("error")
TRUE = markdown.metric("true_finds")
FALSE = markdown.metric("false_finds")


def _any(rows: Rows, task: str, settings: Selection) -> bool:
    return any(rows.get((task, method)) for method in settings.methods)


def _designs(names: Sequence[str]) -> str:
    lines = []
    for name in names:
        design = designs.DESIGNS[name]
        words = WORDS[design.columns].format(r=design.correlation)
        signals = ", ".join(f"{signal:g}" for signal in dict.fromkeys(design.signals))
        rest = f"normal, deviation {design.others:g}" if design.others else "0"
        noise = f"{design.noise_variance:g}" + (", t with 3 df" if design.noise == "t3" else "")
        count = len(design.signals)
        sizes = [f"{design.num_rows:,}", f"{design.num_columns:,}"]
        lines.append([name, *sizes, words, f"{count}: {signals}" if count else "0", rest, noise])
    heads = ["design", "n", "p", "columns", "signals", "other coefficients", "noise variance"]
    return markdown.table(heads, lines) if lines else ""


def _by_method(
    head: str,
    settings: Selection,
    rows: Rows,
    tasks: Sequence[str],
    write: Callable[[Sequence[harness.Row]], str],
) -> str:
    """Write a table of a line for each task and a column for each method."""
    methods = [m for m in settings.methods if any(rows.get((task, m)) for task in tasks)]
    lines = [
        [task, *(write(of) if (of := rows.get((task, m))) else "-" for m in methods)]
        for task in tasks
    ]
    return markdown.table([head, *methods], lines) if lines else ""


def _behind(settings: Selection, rows: Rows, names: Sequence[str]) -> str:
    """Set `aeb.regression` beside the best of the others, on the data sets that both have."""
    lines = []
    for name in names:
        ours = {row["seed"]: row["metrics"]["error"] for row in rows.get((name, "aeb"), ())}
        others = {
            method: {row["seed"]: row["metrics"]["error"] for row in rows.get((name, method), ())}
            for method in settings.methods
            if not method.startswith("aeb")
        }
        shared = {
            method: {seed: error for seed, error in of.items() if seed in ours}
            for method, of in others.items()
            if len(of.keys() & ours.keys()) == len(ours)
        }
        if not ours or not shared:
            continue
        best = min(shared, key=lambda method: statistics.fmean(shared[method].values()))
        gaps = [ours[seed] - error for seed, error in shared[best].items()]
        lines.append([name, best, markdown.mean(gaps, 3), f"{len(gaps)}"])
    heads = ["design", "best other method", "behind the best", "data sets"]
    return markdown.table(heads, lines) if lines else ""


def _calibration(rows: Rows, names: Sequence[str]) -> str:
    """Say of how many columns with such an inclusion probability are signals, over all designs."""
    lines = []
    for method in WITH_INCLUSION:
        known = [
            row["metrics"]["calibration"]
            for name in names
            for row in rows.get((name, method), ())
            if row["metrics"]["calibration"] is not None
        ]
        if known:
            cells = []
            for bins in zip(*known, strict=True):
                count, stated, hits = (sum(part) for part in zip(*bins, strict=True))
                share = f"{hits / count:.2f} of {stated / count:.2f} ({count:,})" if count else "-"
                cells.append(share)
            lines.append([method, *cells])
    heads = [f"{b / BINS:.1f} to {(b + 1) / BINS:.1f}" for b in range(BINS)]
    title = "signals among the columns, of stated (columns)"
    return markdown.table([title, *heads], lines) if lines else ""


def _covered(rows: Rows, names: Sequence[str]) -> str:
    """Say how many coefficients lie in their 90 % intervals."""
    lines = []
    for name in names:
        of_aeb = rows.get((name, "aeb"), ())
        if of_aeb:
            cells = []
            for kind in of_aeb[0]["metrics"]["covered"]:
                for which in ("signals", "others"):
                    pairs = [row["metrics"]["covered"][kind][which] for row in of_aeb]
                    inside, count = (sum(part) for part in zip(*pairs, strict=True))
                    cells.append(f"{inside / count:.1%}" if count else "-")
            lines.append([name, *cells])
    if not lines:
        return ""
    kinds = next(row["metrics"]["covered"] for name in names for row in rows.get((name, "aeb"), ()))
    heads = [f"{kind}: {which}" for kind in kinds for which in ("signals", "others")]
    return markdown.table(["covered at 90 %, `aeb.regression`", *heads], lines)
