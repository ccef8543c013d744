# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.regression.run import PRESETS, Case, Regression
from benchmarks.regression.targets import targets
from benchmarks.simulation.design import Design
from benchmarks.simulation.table import signals

__all__ = ["found", "report"]

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
Mean over data sets ± its standard error; the data sets are those of the simulation, seed for seed.
The population MSE is that of the prediction, intercept included; beside it the part of the
coefficients alone, as in the table of the simulation, whose samplers have no intercept. Its floor
is {floor:g}. Found is a coefficient that is not 0 for lasso and MCP, a {level:.0%} interval without
0 for the horseshoe, an inclusion probability above 0.5 for aeb. Lasso and MCP: {folds}-fold
cross-validation, least mean error. Intervals of aeb: averaged, of the coefficient with 0 where its
column is left out; if included, of the coefficient given that it is in. CPU seconds are of one fit,
compiled before but for the horseshoe; those of the first call are with compiling. Memory is the
most that was resident during a fit, in brackets what was before it."""

NUTS = """\
The horseshoe is told the number of signals and has {chains} chains of {draws} draws after {warmup}
steps of warm-up: {fared}."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    """Make the section of the report (`harness.Section`)."""
    settings = PRESETS[preset]
    table = list(found(settings, results).items())
    design, nuts = settings.design, settings.horseshoe
    ours = [(case, own) for case, own in table if case.method == "aeb"]
    measured = targets(
        by_key=[own for case, own in ours if case.design == design],
        mcp=[row for case, own in table if case.method == "mcp" for row in own],
        horseshoe=[row for case, own in table if case.method == "horseshoe" for row in own],
        wide=[row for case, own in ours if case.design == settings.wide for row in own],
        size=_size(settings.wide),
    )
    parts = [
        "## aeb.regression and its peers",
        f"`python -m benchmarks.regression --preset {preset}`: {_size(design)}; wide data have "
        f"{_size(settings.wide)}.",
        markdown.table(
            ["method", "data sets", *ERRORS],
            [
                [_label(settings, case), *_line(case, own, list(ERRORS.values()))]
                for case, own in table
            ],
        ),
        markdown.table(
            ["method", "intervals", "data sets", *INTERVALS],
            [
                [
                    _label(settings, case),
                    kind,
                    *_line(case, own, [make(kind) for make in INTERVALS.values()]),
                ]
                for case, own in table
                for kind in KINDS.get(case.method, ())
            ],
        ),
        NOTE.format(
            floor=design.noise_variance,
            level=settings.level,
            folds=settings.folds,
        ),
        NUTS.format(
            chains=nuts.chains,
            warmup=nuts.warmup,
            draws=nuts.draws,
            fared=_nuts([row for case, own in table if case.method == "horseshoe" for row in own]),
        ),
        "Targets, and what was measured:",
        "\n".join(f"- {target}: {words}." for target, words in measured.items()),
        markdown.made([row for _, own in table for row in own]),
    ]
    return markdown.join(parts)


def found(settings: Regression, results: harness.Results) -> dict[Case, list[harness.Row]]:
    """Look up the rows of each case, one a data set."""
    return results.look_up(
        (case, settings.config(case), range(settings.seed, settings.seed + case.data_sets))
        for case in settings.cases()
    )


def _size(design: Design) -> str:
    return f"n = {design.num_rows}, p = {design.num_columns:,}"


def _label(settings: Regression, case: Case) -> str:
    label = LABELS[case.method]
    if case.key is not None:
        label += f", key {case.key}"
    return label + (", wide" if case.design == settings.wide else "")


def _line(case: Case, rows: Sequence[harness.Row], columns: Sequence[markdown.Column]) -> list[str]:
    if not rows:
        return [markdown.NOT_RUN] * (1 + len(columns))
    return [f"{len(rows)} of {case.data_sets}", *(column(rows) for column in columns)]


def _r_hat(rows: Sequence[harness.Row]) -> str:
    """Tell the largest of all; what is infinite has no number in its row."""
    known = [row["metrics"]["largest_r_hat"] for row in rows]
    there = [r_hat for r_hat in known if r_hat is not None]
    return f"{max(there):.3f}" if there else "-"


def _first(rows: Sequence[harness.Row]) -> str:
    firsts = [row["metrics"]["first_call"] for row in rows if row["metrics"]["first_call"]]
    return f"{statistics.fmean(own['cpu'] for own in firsts):.1f}" if firsts else "-"


ERRORS: dict[str, markdown.Column] = {
    "population MSE": markdown.column(lambda m: m["population_mse"], 3),
    "of coefficients": markdown.column(lambda m: m["population_mse_of_coefficients"], 3),
    "fresh MAE": markdown.column(lambda m: m["fresh"]["mae"]),
    "fresh MSE": markdown.column(lambda m: m["fresh"]["mse"]),
    "not 0": markdown.column(lambda m: m["non_zero"], 1),
    "true found": markdown.column(lambda m: m["true_discoveries"]),
    "false found": markdown.column(lambda m: m["false_discoveries"]),
    "beta 1, 2, 3": signals("estimate"),
    "inclusion": signals("inclusion"),
    "largest R-hat": _r_hat,
    "CPU seconds": markdown.column(lambda m: m["cpu_seconds"]),
    "first call": _first,
}


def _coverage(which: str) -> Callable[[str], markdown.Column]:
    def make(kind: str) -> markdown.Column:
        def column(rows: Sequence[harness.Row]) -> str:
            shares = [row["metrics"]["intervals"][kind][which]["coverage"] for row in rows]
            return f"{statistics.fmean(shares):.1%}"

        return column

    return make


def _width(which: str, digits: int) -> Callable[[str], markdown.Column]:
    return lambda kind: markdown.column(lambda m: m["intervals"][kind][which]["width"], digits)


def _each_covered(kind: str) -> markdown.Column:
    """Make a column of the coverage of each signal."""

    def inside(own: Mapping[str, Any]) -> bool:
        low, high = own["intervals"][kind]
        return bool(low <= own["true"] <= high)

    def column(rows: Sequence[harness.Row]) -> str:
        each = zip(*(row["metrics"]["beta"] for row in rows), strict=True)
        return ", ".join(f"{statistics.fmean(map(inside, signal)):.0%}" for signal in each)

    return column


INTERVALS: dict[str, Callable[[str], markdown.Column]] = {
    "signals covered": _coverage("signals"),
    "each": _each_covered,
    "mean width": _width("signals", 2),
    "nulls covered": _coverage("nulls"),
    "mean width of nulls": _width("nulls", 3),
}


def _nuts(rows: Sequence[harness.Row]) -> str:
    """Say how NUTS fared."""
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
