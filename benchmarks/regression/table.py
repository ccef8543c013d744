# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, and what they say of the targets that were set for `aeb.regression`."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import harness
from benchmarks.harness import Row, markdown, paired
from benchmarks.harness.comparison import Cell
from benchmarks.harness.markdown import by_cell, column
from benchmarks.harness.standings import first_call
from benchmarks.regression.run import PRESETS, Regression
from benchmarks.simulation.design import Design
from benchmarks.simulation.table import covered, signals

COVERED = (0.85, 0.95)
"""Where the coverage of the signals is to be."""

FALSE_FINDS = 0.2
"""False discoveries of a data set that are allowed for."""

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
        by_key=[rows for cell, rows in ours.items() if cell.task == "design"],
        mcp=by_method["mcp"],
        horseshoe=by_method["horseshoe"],
        wide=[row for cell, rows in ours.items() if cell.task == "wide" for row in rows],
        size=_size(settings.wide),
    )
    names = [
        ("method", lambda cell: _label(settings, cell)),
        ("data sets", lambda cell: _done(cell, table[cell])),
    ]
    by_kind = {
        (cell, kind): [{**row, "metrics": _of_kind(row["metrics"], kind)} for row in rows]
        for cell, rows in table.items()
        for kind in KINDS.get(cell.method, ())
    }
    kind_names = [
        ("method", lambda pair: _label(settings, pair[0])),
        ("intervals", lambda pair: pair[1]),
        ("data sets", lambda pair: _done(pair[0], by_kind[pair])),
    ]
    parts = [
        "## aeb.regression and its peers",
        f"`python -m benchmarks.regression --preset {preset}`: {_size(design)}; wide data have "
        f"{_size(settings.wide)}.",
        by_cell(table, names, ERRORS),
        by_cell(by_kind, kind_names, INTERVALS),
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
    return label + (", wide" if cell.task == "wide" else "")


def _done(cell: Cell, rows: Sequence[Row]) -> str:
    return f"{len(rows)} of {cell.repeats}" if rows else markdown.NOT_RUN


def _of_kind(metrics: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return what a row says of one kind of interval."""
    return {**metrics["intervals"][kind], "inside": [_inside(s, kind) for s in metrics["beta"]]}


def _inside(signal: Mapping[str, Any], kind: str) -> bool:
    low, high = signal["intervals"][kind]
    return bool(low <= signal["true"] <= high)


def _r_hat(rows: Sequence[Row]) -> str:
    """Write the largest of all; what is infinite has no number in its row."""
    known = [row["metrics"]["largest_r_hat"] for row in rows]
    finite = [r_hat for r_hat in known if r_hat is not None]
    return f"{max(finite):.3f}" if finite else "-"


def _each_covered(rows: Sequence[Row]) -> str:
    each = zip(*(row["metrics"]["inside"] for row in rows), strict=True)
    return ", ".join(f"{statistics.fmean(inside):.0%}" for inside in each)


ERRORS: list[tuple[str, markdown.Column]] = [
    ("population MSE", column("population_mse", digits=3)),
    ("of coefficients", column("population_mse_of_coefficients", digits=3)),
    ("fresh MAE", column("fresh", "mae")),
    ("fresh MSE", column("fresh", "mse")),
    ("not 0", column("non_zero", digits=1)),
    ("true found", column("true_discoveries")),
    ("false found", column("false_discoveries")),
    ("beta 1, 2, 3", signals("estimate")),
    ("inclusion", signals("inclusion")),
    ("largest R-hat", _r_hat),
    ("CPU seconds", column("cpu_seconds")),
    ("first call", first_call),
]

INTERVALS: list[tuple[str, markdown.Column]] = [
    ("signals covered", covered("signals", digits=1)),
    ("each", _each_covered),
    ("mean width", column("signals", "width")),
    ("nulls covered", covered("nulls", digits=1)),
    ("mean width of nulls", column("nulls", "width", digits=3)),
]


def _fared(rows: Sequence[Row]) -> str:
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


# ---- the targets ---------------------------------------------------------------------------------


def targets(
    by_key: Sequence[Sequence[Row]],
    mcp: Sequence[Row],
    horseshoe: Sequence[Row],
    wide: Sequence[Row],
    *,
    size: str,
) -> dict[str, str]:
    """Set what was measured beside each target.

    Args:
        by_key: the rows of aeb for each key.
        mcp: those of MCP on the same data sets.
        horseshoe: those of the horseshoe on some of them, for which no target was set.
        wide: those of aeb on wide data.
        size: of the wide data, in words.

    Returns:
        Target to words, "not run" where the rows that it takes are not there.
    """
    ours = by_key[0] if by_key else []
    return {
        "Population MSE at or below that of MCP": _against(ours, mcp, judge=True),
        "The same beside the horseshoe, which is no target": _against(ours, horseshoe),
        f"Intervals cover {COVERED[0]:.0%} to {COVERED[1]:.0%} of the signals": _if_any(
            ours, _covered
        ),
        f"At most {FALSE_FINDS:g} false finds a data set": _if_any(ours, _false_finds),
        "The same answer from every start": _same(by_key),
        f"{size} in one call": _if_any(wide, _wide),
    }


def _if_any(rows: Sequence[Row], write: markdown.Column) -> str:
    return write(rows) if rows else markdown.NOT_RUN


def _memory(rows: Sequence[Row]) -> str:
    """Write the largest peak of the rows, and in brackets what was resident before."""
    both = [
        (row["metrics"]["peak_resident_bytes"], row["metrics"]["resident_bytes_before"])
        for row in rows
    ]
    known = [pair for pair in both if None not in pair]
    if not known:
        return "-"
    peak, before = max(known)
    return f"{peak / 2**20:,.0f} MiB ({before / 2**20:,.0f})"


def _against(ours: Sequence[Row], others: Sequence[Row], *, judge: bool = False) -> str:
    pairs = paired(ours, others)
    if not pairs:
        return markdown.NOT_RUN
    mine, theirs = (
        [row["metrics"]["population_mse"] for row in side] for side in zip(*pairs, strict=True)
    )
    gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
    means = statistics.fmean(mine), statistics.fmean(theirs)
    verdict = f"{_verdict(means[0] <= means[1])}, " if judge else ""
    return (
        f"{verdict}{means[0]:.3f} against {means[1]:.3f} over {_sets(pairs)}; "
        f"the difference is {markdown.mean(gaps, 3)}, lower on "
        f"{sum(gap < 0 for gap in gaps)} of them"
    )


def _covered(rows: Sequence[Row]) -> str:
    parts = []
    for kind in rows[0]["metrics"]["intervals"]:
        inside = [_inside(signal, kind) for row in rows for signal in row["metrics"]["beta"]]
        share = statistics.fmean(inside)
        verdict = _verdict(COVERED[0] <= share <= COVERED[1])
        parts.append(f"{verdict} by those {kind}, {share:.1%} of {len(inside)}")
    return "; ".join(parts)


def _false_finds(rows: Sequence[Row]) -> str:
    finds = [row["metrics"]["false_discoveries"] for row in rows]
    verdict = _verdict(statistics.fmean(finds) <= FALSE_FINDS)
    return f"{verdict}, {markdown.mean(finds)} over {_sets(finds)}"


def _same(by_key: Sequence[Sequence[Row]]) -> str:
    pairs = [pair for others in by_key[1:] for pair in paired(by_key[0], others)]
    if not pairs:
        return markdown.NOT_RUN
    errors, gaps, alike = [], [], 0
    for pair in pairs:
        one, other = (row["metrics"]["population_mse"] for row in pair)
        errors.append(abs(one - other))
        a, b = ({int(j): rho for j, rho in row["metrics"]["inclusion"]} for row in pair)
        gaps.append(max((abs(a.get(j, 0.0) - b.get(j, 0.0)) for j in a | b), default=0.0))
        found = [{j for j, rho in side.items() if rho > 0.5} for side in (a, b)]
        alike += found[0] == found[1]
    return (
        f"two keys, which draw other starts and other noise, differ over {_sets(pairs)} by at most "
        f"{max(errors):.3f} in population MSE (mean {statistics.fmean(errors):.4f}) and by at most "
        f"{max(gaps):.3f} in the inclusion of a column (mean of the largest "
        f"{statistics.fmean(gaps):.3f}); the columns found are the same in {alike} of them"
    )


def _wide(rows: Sequence[Row]) -> str:
    seconds, errors, true, false = (
        [row["metrics"][name] for row in rows]
        for name in ("cpu_seconds", "population_mse", "true_discoveries", "false_discoveries")
    )
    firsts = [row["metrics"]["first_call"] for row in rows if row["metrics"]["first_call"]]
    compiling = f", {firsts[0]['cpu']:.1f} with compiling" if firsts else ""
    return (
        f"{_sets(rows)}, {markdown.mean(seconds, 1)} CPU seconds{compiling}; population MSE "
        f"{markdown.mean(errors, 3)}, {markdown.mean(true)} true and "
        f"{markdown.mean(false)} false finds; "
        f"memory {_memory(rows)}"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def _sets(things: Sequence[Any]) -> str:
    return f"{len(things)} data set" + ("" if len(things) == 1 else "s")
