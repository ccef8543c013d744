# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the authors' figures beside ours.

Those of the authors are what their R document prints for one data set (seed 0) at v0 = 0.1, sigma
started at 1, and the coefficients read off its plot.
"""

import statistics
from collections.abc import Sequence

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.harness.markdown import column
from benchmarks.simulation.recipe import Cell
from benchmarks.simulation.run import PICTURED, PRESETS, Simulation

LABELS = {"sa": "SGLD-SA", "em": "SGLD-EM", "sgld": "SGLD"}

Found = harness.Found[Cell]

THEIRS = {
    "sa": {"mae": "1.71", "mse": "4.08", "beta": "2.8, 2.25, 1.2"},
    "em": {"mae": "2.20", "mse": "7.21", "beta": "1.65, 1.63, 0.33"},
    "sgld": {"mae": "12.14", "mse": "219.15", "beta": "0.6, 0.3, 0.4"},
}
"""What the authors' document shows for an arm."""

FIGURE = "simulation.png"

SHOWN = (Cell("sa", 0.1, 1.0), Cell("em", 0.1, 1.0), Cell("sgld", None, 1.0))
"""The setting of the authors' document, which the figure shows."""

PICTURE = """\
![The signals' posterior, and predictions](figures/{figure})

The data set of seed {seed}, with v0 = {v0:g} and sigma started at {sigma:g}. The upper row shows
the posterior of the signals, all draws as they are; the lower row shows predictions of the fresh
rows by the posterior mean."""

NOTE = """\
Means over data sets ± standard error.

- *population MSE*: its floor is {floor:g}, the variance of the noise.
- *by true beta*: the MSE of the true coefficients on the same fresh rows.
- *R document*: what the authors' own document prints after 500,000 steps on its one data set. Its
  test rows come from different coefficients from its training rows, and its SGLD lost the Laplace
  part of the prior. Its coefficients are read off a plot.
- *inclusion*: the mean of rho; *found* is rho above 0.5.
- *seconds*: of sampling, without compiling. All {cells} cells run in one call, and each is given a
  {cells}th of the time."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    settings = PRESETS[preset]
    table = harness.found(settings, results)
    used = harness.every_row(table)
    recipe, design = settings.recipe, settings.design
    pictured = any(row["seed"] == PICTURED for cell in SHOWN for row in table.get(cell, ()))
    picture = PICTURE.format(figure=FIGURE, seed=PICTURED, **SHOWN[0]._asdict())
    parts = [
        "## Large p, small n",
        f"`python -m benchmarks.simulation --preset {preset}`: n = {design.num_rows}, "
        f"p = {design.num_columns}, {recipe.num_steps:,} steps, a draw every {recipe.thinning}, "
        f"the first {recipe.burn_in:.0%} left out, {settings.data_sets} data sets.",
        _table(ERRORS, table, settings),
        _table(POSTERIOR, table, settings),
        NOTE.format(floor=design.noise_variance, cells=len(settings.cells())),
        picture if pictured else "",
        markdown.made(used),
    ]
    return markdown.join(parts)


def signals(name: str) -> markdown.Column:
    """Make a column of the means for each signal."""

    def write(rows: Sequence[harness.Row]) -> str:
        each = zip(*(row["metrics"]["beta"] for row in rows), strict=True)
        means = [[one[name] for one in signal if one[name] is not None] for signal in each]
        return ", ".join(f"{statistics.fmean(mean):.2f}" if mean else "-" for mean in means)

    return write


def covered(*path: str, digits: int = 0) -> markdown.Column:
    """Make a column of the mean coverage, in per cent, of the intervals under these names."""

    def write(rows: Sequence[harness.Row]) -> str:
        shares = (markdown.metric(*path, "coverage")(row["metrics"]) or 0.0 for row in rows)
        return f"{statistics.fmean(shares):.{digits}%}"

    return write


def _seconds(rows: Sequence[harness.Row]) -> str:
    return f"{statistics.fmean(row['seconds'] for row in rows):.1f}"


Columns = dict[str, markdown.Column | str]
"""Heading to what reads our rows, or to a name in `THEIRS`."""

ERRORS: Columns = {
    "population MSE": column("population_mse"),
    "fresh MAE": column("fresh", "mae"),
    "R document": "mae",
    "fresh MSE": column("fresh", "mse"),
    "R document ": "mse",
    "by true beta": column("fresh_with_true_beta", "mse"),
    "seconds": _seconds,
}

POSTERIOR: Columns = {
    "beta 1, 2, 3": signals("mean"),
    "R document": "beta",
    "inclusion": signals("inclusion"),
    "true found": column("true_discoveries"),
    "false found": column("false_discoveries"),
    "signals covered": covered("intervals", "signals"),
    "width": column("intervals", "signals", "width"),
    "nulls covered": covered("intervals", "nulls"),
    "width ": column("intervals", "nulls", "width"),
    "last sigma": column("sigma_end"),
    "last delta": column("delta_end", digits=4),
}


def _table(columns: Columns, table: Found, settings: Simulation) -> str:
    heads = ["arm", "v0", "sigma", "data sets", *columns]
    lines = []
    for cell, rows in table.items():
        v0 = "any" if cell.v0 is None else f"{cell.v0:g}"
        theirs = THEIRS[cell.arm] if cell in SHOWN else {}
        done = f"{len(rows)} of {settings.data_sets}" if rows else markdown.NOT_RUN
        line = [LABELS[cell.arm], v0, f"{cell.sigma:g}", done]
        for write in columns.values():
            if isinstance(write, str):
                line.append(theirs.get(write, ""))
            else:
                line.append(write(rows) if rows else markdown.NOT_RUN)
        lines.append(line)
    return markdown.table(heads, lines)
