# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.harness.standings import Rows, tables
from benchmarks.selection import designs, effects, real
from benchmarks.selection.run import PRESETS
from benchmarks.selection.scores import BINS

FIGURE = "selection.png"

WORDS = {
    "independent": "independent columns",
    "ar": "correlation {r:g} to the power of the distance",
    "blocks": f"blocks of {designs.BLOCK} columns, correlation {{r:g}} inside",
    "equal": "correlation {r:g} between all columns",
    "factors": f"{designs.FACTORS} hidden factors",
    "genotypes": "human genotypes, standardised",
}

WITH_INCLUSION = ("aeb", "aeb, v0 = 0", "susie", "millipede")

PICTURE = """\
A row for each design, with the number of data sets of ours in brackets. Each mark is the squared
error of a method on a new row, over that of the method that is best on this design, which sits at
1; further right is worse. Bars are the standard error of the difference from the best, data set by
data set."""

NOTE = """\
Mean over data sets ± its standard error. The number in brackets after an error says how many of the
{sets} data sets have been run ({wide} of "wide", {nuts} of the horseshoe). The error is the
expected squared error on a new row, intercept included. It is known from the design, and it is at
least the variance of the noise. All methods see the same rows. None is told the noise, and only the
horseshoe is told a number of signals. Lasso, elastic net and MCP take the least error in
{folds}-fold cross-validation, not the largest penalty within a standard error of it. Ridge leaves
one out, and abess chooses its size by EBIC. susie adds ten effects, its default, so it cannot find
twenty. A find is a coefficient that is not 0, or an inclusion probability above 0.5 for a method
that gives one. Ridge keeps every column. "-" means that a method has not been run: ARD and the
horseshoe skip designs on which one fit takes many minutes."""

GAPS = """\
The next table has the error of `aeb.regression` minus that of each other method. Differences are
taken data set by data set, on the data sets that both have. If they are negative, ours is ahead. In
the last column, ours is "behind" a method if the mean difference is above 0 by more than its
standard error, and "level with" it if the difference is within one standard error of 0. Ours is
"first" if it is ahead of all by more than that. At one standard error, some of these come out
either way by chance."""

CALIBRATION = """\
Are the inclusion probabilities right? Take all columns whose probability is in a bin, over all
designs except those where every column matters. A cell has the share of them that are signals, the
mean probability that the method states, and in brackets the number of columns. A bin with few
columns says little."""

REAL = """\
The real data are riboflavin (71 rows of 4,088 columns), scikit-learn's diabetes with all squares
and products (442 of 64), the crime rates of R's MASS with logarithms (47 of 15), the permeability
of compounds from R's modeldata (165 of 1,107, all of them indicators), and from ISLP the salaries
of baseball players with all squares and products (263 of 206) and the applications to colleges (777
of 17). None was left out for what came of it."""

SECONDS = """\
Processor seconds of one fit, without imports and compiling, on a machine that also did other work.
Below them are the seconds of a first call, if they were measured."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    settings = PRESETS[preset]
    table = tables(settings, results)
    known, tasks = table.there(settings.designs), table.there(settings.tasks)
    note = NOTE.format(
        sets=settings.data_sets,
        wide=settings.wide_sets,
        nuts=settings.horseshoe_sets,
        folds=settings.folds,
    )
    parts = [
        "## Variable selection, on many designs and on real data",
        f"`python -m benchmarks.selection --preset {preset}`",
        note if known else markdown.NOT_RUN,
        markdown.picture("Error relative to the best method", FIGURE, PICTURE) if known else "",
        designs_of({name: designs.DESIGNS[name] for name in known}),
        table.means("Error", known, "error", count=True),
        GAPS if known else "",
        table.differences("Error, ours minus the other method's", known, "error"),
        table.means("True finds", known, "true_finds", digits=1),
        table.means("False finds", known, "false_finds", digits=1),
        CALIBRATION if known else "",
        _calibration(table.rows, known),
        _covered(table.rows, known),
        REAL if tasks else "",
        table.means(
            f"On real data, squared error divided by the variance of y, {real.FOLDS} folds",
            tasks,
            "relative_error",
            count=True,
        ),
        table.differences("The same, ours minus the other method's", tasks, "relative_error"),
        _sets(table.rows),
        _keys(table.rows.get((real.KEYS, "aeb"), ())),
        SECONDS if known or tasks else "",
        *table.costs([*known, *tasks]),
    ]
    return markdown.join(parts)


def designs_of(known: Mapping[str, designs.Design], *, noise: bool = True) -> str:
    """Write what the data sets of each design are drawn from; "" where there is none."""
    lines = []
    for name, design in known.items():
        words = WORDS[design.columns].format(r=design.correlation)
        signals = ", ".join(f"{signal:g}" for signal in dict.fromkeys(design.signals))
        rest = f"normal, deviation {design.others:g}" if design.others else "0"
        of_noise = f"{design.noise_variance:g}" + (", t with 3 df" if design.noise == "t3" else "")
        count = len(design.signals)
        sizes = [f"{design.num_rows:,}", f"{design.num_columns:,}"]
        signals = f"{count}: {signals}" if count else "0"
        lines.append([name, *sizes, words, signals, rest, *([of_noise] if noise else [])])
    heads = ["design", "n", "p", "columns", "signals", "other coefficients"]
    heads += ["noise variance"] if noise else []
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
                share, mean = (part / count if count else 0.0 for part in (hits, stated))
                cells.append(f"{share:.2f}, stated {mean:.2f} ({count:,})" if count else "-")
            lines.append([method, *cells])
    heads = [f"{b / BINS:.1f} to {(b + 1) / BINS:.1f}" for b in range(BINS)]
    return markdown.table(["method", *heads], lines) if lines else ""


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
    table = markdown.table(["data", *heads], lines)
    return f"Share of the coefficients inside the 90 % intervals of `aeb.regression`:\n\n{table}"


def _sets(rows: Rows) -> str:
    """Say how often credible sets hold an effect, and how many effects are in one."""
    ours, theirs = (rows.get((effects.TASK, name), ()) for name in ("aeb", "susie"))
    if not (ours or theirs):
        return ""
    kinds = {
        "aeb": _found(ours),
        f"aeb, existence = {effects.EXISTENCE:g}": _found(ours, "conditional"),
        "susie": _found(theirs),
    }
    lines = []
    for first, of in ((0, "all"), (effects.CHOSEN_ON, f"{effects.CHOSEN_ON} and later")):
        for name, found in kinds.items():
            drawn = [one for seed, one in found.items() if seed >= first]
            if drawn:
                lines.append([of, name, *_coverage_and_power(drawn)])
    heads = "draws", "method", "number", "sets", "coverage", "power", "median size", "seconds"
    said = (
        "Credible sets at 95 %, for draws of 1 to 5 effects at the genotypes, which explain 5 to "
        "40 % of y. Coverage is the share of the sets that hold an effect, and power the share of "
        "the effects that are in a set, each ± its standard error as if sets and effects were "
        "independent. The level of susie, and of `aeb` with `existence`, is conditional on there "
        f"being an effect; {effects.EXISTENCE:g} was chosen on draws 0 to {effects.CHOSEN_ON - 1}."
    )
    return markdown.join([said, markdown.table(heads, lines), _gaps(kinds)]).strip()


def _found(rows: Sequence[harness.Row], kind: str = "") -> dict[int, dict[str, Any]]:
    """Return the metrics by draw, with the sets of the given kind in place of the stated ones."""
    metrics = {row["seed"]: row["metrics"] for row in rows}
    return {s: m | m[kind] if kind else m for s, m in metrics.items() if not kind or kind in m}


def _coverage_and_power(drawn: Sequence[dict[str, Any]]) -> list[str]:
    held = [hit for one in drawn for hit in one["holds_an_effect"]]
    sizes = [size for one in drawn for size in one["sizes"]]
    inside, count = (sum(m[key] for m in drawn) for key in ("effects_in_sets", "effects"))
    seconds = statistics.fmean(one["cpu_seconds"] for one in drawn)
    return [
        f"{len(drawn)}",
        f"{len(held)}",
        _share(sum(held), len(held)),
        _share(inside, count),
        f"{statistics.median(sizes):g}" if sizes else "-",
        f"{seconds:.1f}",
    ]


def _gaps(kinds: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Compare the power of our sets with that of susie's, draw by draw."""
    *ours, susie = kinds
    said = []
    for name in ours:
        for first, of in ((0, "all draws"), (effects.CHOSEN_ON, "the later ones")):
            shared = [s for s in kinds[name].keys() & kinds[susie].keys() if s >= first]
            gap = [_power(kinds[name][s]) - _power(kinds[susie][s]) for s in sorted(shared)]
            if len(gap) > 1:
                said.append(f"{name}: {markdown.mean(gap, 3)} ({of}, {len(gap)})")
    return f"Our power minus susie's, draw by draw. {'; '.join(said)}." if said else ""


def _power(metrics: dict[str, Any]) -> float:
    return metrics["effects_in_sets"] / metrics["effects"]


def _share(hits: int, count: int) -> str:
    """Write a share and its standard error, as if each were drawn by itself."""
    if not count:
        return "-"
    share = hits / count
    return f"{share:.3f} ± {(share * (1.0 - share) / count) ** 0.5:.3f}"


def _keys(rows: Sequence[harness.Row]) -> str:
    """Say how far fits with several keys agree."""
    if len(rows) < 2:
        return ""
    stated = [row["metrics"]["inclusion"] for row in rows]
    columns = {column for one in stated for column in one}
    spread = {column: [one.get(column, 0.0) for one in stated] for column in columns}
    gap = max((max(each) - min(each) for each in spread.values()), default=0.0)
    apart = sum(max(each) - min(each) > 0.05 for each in spread.values())
    r_hat = max(row["metrics"]["largest_r_hat"] for row in rows)
    return (
        f"All rows of riboflavin, {len(rows)} keys: inclusion probabilities differ by at most "
        f"{gap:.3f} (target: 0.05), by more than 0.05 in {apart} of 4,088 columns; the largest "
        f"R-hat of any key is {r_hat:.3f} (target: 1.05)."
    )
