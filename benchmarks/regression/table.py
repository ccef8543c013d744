# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.harness.markdown import column
from benchmarks.regression.recipe import Cell
from benchmarks.regression.run import PRESETS, Regression
from benchmarks.regression.targets import targets
from benchmarks.simulation.design import Design
from benchmarks.simulation.table import covered, signals

__all__ = ["first_call", "report"]

LABELS = {
    "oracle": "least squares on the true columns",
    "lasso": "lasso, scikit-learn",
    "mcp": "MCP, skglm",
    "horseshoe": "horseshoe, numpyro",
    "aeb": "aeb.regression",
}

KINDS = {"horseshoe": ("averaged",), "aeb": ("averaged", "if included")}
"""The intervals of the methods that have any."""

NOTE = """\
Means over data sets ± standard error. The data sets are those of the simulation, seed for seed.

- *population MSE*: the error of the prediction, intercept included; its floor is {floor:g}. The
  column beside it is the part of the coefficients alone, as in the table of the simulation,
  whose samplers have no intercept.
- *found*: for lasso and MCP a coefficient that is not 0, for the horseshoe a {level:.0%}
  interval without 0, for aeb an inclusion probability above 0.5. Lasso and MCP are chosen by
  {folds}-fold cross-validation, for the smallest mean error.
- *intervals of aeb*: "averaged" counts a coefficient as 0 where its column is left out; "if
  included" is about the coefficient given that its column is in.
- *CPU seconds*: of one fit. Compiling is left out except for the horseshoe; those of the first
  call include it.
- *memory*: the most that was resident during a fit; in brackets, what was resident before it."""

NUTS = """\
The horseshoe is told the number of signals. It runs {chains} chains of {draws} draws after {warmup}
steps of warm-up: {fared}."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    settings = PRESETS[preset]
    design = settings.design
    table = harness.found(settings, results)
    by_method = {
        method: [row for cell, rows in table.items() if cell.method == method for row in rows]
        for method in LABELS
    }
    ours = {c: rows for c, rows in table.items() if c.method == "aeb" and c.v0 is None}
    measured = targets(
        by_key=[rows for cell, rows in ours.items() if cell.design == design],
        mcp=by_method["mcp"],
        horseshoe=by_method["horseshoe"],
        wide=[row for cell, rows in ours.items() if cell.design == settings.wide for row in rows],
        size=_size(settings.wide),
    )
    parts = [
        "## aeb.regression and its peers",
        f"`python -m benchmarks.regression --preset {preset}`: {_size(design)}; wide data have "
        f"{_size(settings.wide)}.",
        markdown.table(
            ["method", "data sets", *ERRORS],
            [
                [_label(settings, cell), *_line(cell, rows, list(ERRORS.values()))]
                for cell, rows in table.items()
            ],
        ),
        markdown.table(
            ["method", "intervals", "data sets", *INTERVALS],
            [
                [
                    *(_label(settings, cell), kind),
                    *_line(cell, rows, [make(kind) for make in INTERVALS.values()]),
                ]
                for cell, rows in table.items()
                for kind in KINDS.get(cell.method, ())
            ],
        ),
        NOTE.format(floor=design.noise_variance, level=settings.level, folds=settings.folds),
        NUTS.format(fared=_fared(by_method["horseshoe"]), **vars(settings.horseshoe)),
        "Targets, and what was measured:",
        "\n".join(f"- {target}: {words}." for target, words in measured.items()),
        markdown.made(harness.every_row(table)),
    ]
    return markdown.join(parts)


def _size(design: Design) -> str:
    return f"n = {design.num_rows}, p = {design.num_columns:,}"


def _label(settings: Regression, cell: Cell) -> str:
    label = LABELS[cell.method]
    if cell.key is not None:
        label += f", key {cell.key}" + (", v0 = 0" if cell.v0 == 0 else "")
    return label + (", wide" if cell.design == settings.wide else "")


def _line(cell: Cell, rows: Sequence[harness.Row], columns: Sequence[markdown.Column]) -> list[str]:
    if not rows:
        return [markdown.NOT_RUN] * (1 + len(columns))
    return [f"{len(rows)} of {cell.data_sets}", *(write(rows) for write in columns)]


def _r_hat(rows: Sequence[harness.Row]) -> str:
    """Write the largest of all; what is infinite has no number in its row."""
    known = [row["metrics"]["largest_r_hat"] for row in rows]
    finite = [r_hat for r_hat in known if r_hat is not None]
    return f"{max(finite):.3f}" if finite else "-"


def first_call(rows: Sequence[harness.Row]) -> str:
    """Write the mean seconds of the first calls, "-" where none was taken."""
    firsts = [row["metrics"]["first_call"] for row in rows if row["metrics"]["first_call"]]
    return f"{statistics.fmean(first['cpu'] for first in firsts):.1f}" if firsts else "-"


ERRORS: dict[str, markdown.Column] = {
    "population MSE": column("population_mse", digits=3),
    "of coefficients": column("population_mse_of_coefficients", digits=3),
    "fresh MAE": column("fresh", "mae"),
    "fresh MSE": column("fresh", "mse"),
    "not 0": column("non_zero", digits=1),
    "true found": column("true_discoveries"),
    "false found": column("false_discoveries"),
    "beta 1, 2, 3": signals("estimate"),
    "inclusion": signals("inclusion"),
    "largest R-hat": _r_hat,
    "CPU seconds": column("cpu_seconds"),
    "first call": first_call,
}


def _each_covered(kind: str) -> markdown.Column:
    """Make a column of the coverage of each signal."""

    def inside(signal: Mapping[str, Any]) -> bool:
        low, high = signal["intervals"][kind]
        return bool(low <= signal["true"] <= high)

    def write(rows: Sequence[harness.Row]) -> str:
        each = zip(*(row["metrics"]["beta"] for row in rows), strict=True)
        return ", ".join(f"{statistics.fmean(map(inside, signal)):.0%}" for signal in each)

    return write


INTERVALS: dict[str, Callable[[str], markdown.Column]] = {
    "signals covered": lambda kind: covered("intervals", kind, "signals", digits=1),
    "each": _each_covered,
    "mean width": lambda kind: column("intervals", kind, "signals", "width"),
    "nulls covered": lambda kind: covered("intervals", kind, "nulls", digits=1),
    "mean width of nulls": lambda kind: column("intervals", kind, "nulls", "width", digits=3),
}


def _fared(rows: Sequence[harness.Row]) -> str:
    if not rows:
        return markdown.NOT_RUN
    divergences, full = (
        sum(row["metrics"]["details"][name] for row in rows)
        for name in ("divergences", "draws_at_full_depth")
    )
    r_hats = [row["metrics"]["largest_r_hat"] for row in rows]
    return (
        f"over {len(rows)} data sets {divergences} draws diverged, {full} went to the full tree "
        "depth; the largest R-hat of each is "
        + ", ".join("infinite" if r_hat is None else f"{r_hat:.2f}" for r_hat in r_hats)
    )
