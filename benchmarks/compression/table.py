# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the paper's figures and our targets beside them."""

from __future__ import annotations

import operator
import statistics
from typing import Any

from benchmarks import harness
from benchmarks.compression import ARMS, DEPARTURES
from benchmarks.compression.parts import (
    Found,
    against,
    averaged,
    cut,
    gains,
    label,
    over,
    percent,
    prior,
)
from benchmarks.compression.run import PRESETS, Cell, Compression
from benchmarks.harness import markdown

__all__ = ["FIGURES", "LOGS", "POSTER", "TARGETS", "command", "final", "found", "report", "size_of"]

FIGURES = {"paper": "compression.png", "cpu": "compression_reduced.png", "smoke": "compression.png"}
"""Preset to file."""

POSTER: dict[str, dict[float, float]] = {
    "a_sghmc": {0.3: 94.07, 0.5: 94.16, 0.7: 93.16, 0.9: 90.59},
    "a_sghmc_em": {0.3: 94.18, 0.5: 94.19, 0.7: 93.41, 0.9: 91.12},
    "sghmc_sa": {0.3: 94.13, 0.5: 94.11, 0.7: 93.52, 0.9: 91.45},
    "a_sghmc_sa": {0.3: 94.23, 0.5: 94.27, 0.7: 93.74, 0.9: 91.68},
}
"""Test accuracy in per cent by arm and sparsity: the best epoch by test accuracy, one seed."""

LOGS: dict[str, dict[float, tuple[float, ...]]] = {
    "a_sghmc": {0.3: (94.23,), 0.5: (93.95,), 0.7: (93.03,), 0.9: (89.10, 88.84)},
    "a_sghmc_em": {0.3: (94.12,), 0.5: (93.89,), 0.7: (93.15,), 0.9: (90.08, 89.69)},
    "sghmc_sa": {0.3: (94.21,), 0.5: (93.96,), 0.7: (93.38,), 0.9: (91.10, 90.80)},
    "a_sghmc_sa": {0.3: (94.11,), 0.5: (93.87,), 0.7: (93.45,), 0.9: (91.43, 91.14)},
}
"""The last epoch in the logs of the authors' own runs, same seed; two where two runs survive."""

TARGETS: tuple[tuple[str, float | None, bool, float], ...] = (
    ("dense", None, False, 94.0),
    ("90 %, one network", 0.9, False, 92.0),
    ("90 %, averaged", 0.9, True, 92.4),
    ("95 %, one network", 0.95, False, 90.0),
    ("98 %, one network", 0.98, False, 85.5),
)
"""What to reach, its sparsity, whether averaged, test accuracy in per cent."""

SHORT_TARGETS: tuple[tuple[float, int, float], ...] = (
    (0.9, 15, 90.8),
    (0.95, 15, 88.5),
    (0.98, 15, 83.5),
    (0.9, 60, 91.7),
)
"""Sparsity, epochs, and test accuracy in per cent to reach in so many, by one network."""

SHORT = """\
Test accuracy in per cent, NLL in nats, and NLL with each half of the test images at the temperature
that suits the other; all at the last epoch, mean ± standard deviation over seeds (their number in
brackets). Less the control: points of accuracy, with the same start, epochs and minibatches, mean ±
standard error. All start from the network that the authors released, 94.12 %, which is the best of
65 by test accuracy and has seen all of the training images."""

FINAL = """\
Test accuracy in per cent at the last epoch, mean ± standard deviation over seeds (their number in
brackets), by the sparsity over all parameters."""

PAPER = """\
The authors' own figures, from their dense network: on the poster, which is the best of all test
evaluations of a run, and in brackets at the last epoch of the runs whose logs they keep. All are of
one seed, the best of 65 by the test accuracy of the dense network."""

REACHED = """\
Targets at the full size, and the arm of ours or of the controls that comes nearest. As there are
several of these, the nearest by test accuracy flatters a little."""

DEPARTED = "The authors' code, and what is done here in its place:"


def report(preset: harness.Preset, results: harness.Results) -> str:
    """Make the section of the report.

    Args:
        preset: which configurations to look for.
        results: the rows of the script.

    Returns:
        Markdown, with "not run" where an arm has no row.

    Raises:
        UsageError: the rows are damaged.
    """
    full = preset == "paper"
    rows = found(PRESETS[preset], results)
    parts = [
        "## Compression of ResNet20",
        command(preset),
        final(rows),
        FINAL,
        *_details(preset, rows),
        _papers(),
        PAPER,
        _targets(rows) if full else "",
        REACHED if full else "",
        DEPARTED,
        markdown.table(["there", "here"], [list(pair) for pair in DEPARTURES]),
    ]
    if full:
        parts += [
            "### All of the data, few epochs",
            command("full"),
            *short(PRESETS["full"], found(PRESETS["full"], results)),
        ]
    reduced = found(PRESETS["cpu"], results) if full else {}
    if any(reduced.values()):
        parts += [
            "### At a reduced size",
            f"{command('cpu')} The targets are not for this size; the order of the arms is.",
            final(reduced),
            *_details("cpu", reduced),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def short(settings: Compression, rows: Found) -> list[str]:
    """Make the tables of the preset `full`: each cell in a line, then the targets."""
    lines = []
    for cell, own in rows.items():
        zeros = "found by itself" if cell.sparsity is None else f"{100 * cell.sparsity:g} %"
        if cell.sparsity is None and own:
            zeros += f": {markdown.mean([100 * row['metrics']['sparsity'] for row in own], 1)} %"
        line = [label(cell.arm, cell.start), zeros, str(cell.epochs or settings.size.epochs)]
        line += [over(own, percent)]
        line += [over(own, operator.itemgetter(name), 3) for name in ("nll", "scaled_nll")]
        is_control = ARMS[cell.arm].kind == "control" or cell.sparsity is None
        lines.append([*line, "-" if is_control else gains(rows, cell)])
    heads = ["arm", "zeros", "epochs", "accuracy", "NLL", "scaled NLL", "less the control"]
    reached = []
    for sparsity, epochs, target in SHORT_TARGETS:
        texts = []
        for arm in ("control", "aeb"):
            cells = [
                cell
                for cell in rows
                if (cell.arm, cell.sparsity, cell.start) == (arm, sparsity, "authors")
                and (cell.epochs or settings.size.epochs) == epochs
            ]
            texts.append(over(rows[cells[0]], percent))
        reached.append([f"{100 * sparsity:g} %, {epochs} epochs", f"{target:.1f}", *texts])
    used = [row for own in rows.values() for row in own]
    return [
        markdown.table(heads, lines),
        SHORT,
        markdown.table(["", "target", "control", "aeb"], reached),
        markdown.made(used),
    ]


def found(settings: Compression, results: harness.Results) -> Found:
    """Look up the rows of each cell."""
    return results.look_up(
        (cell, settings.config(cell), range(settings.seed, settings.seed + seeds))
        for cell, seeds in settings.cells()
    )


def command(preset: harness.Preset) -> str:
    return f"`python -m benchmarks.compression --preset {preset}`: {size_of(PRESETS[preset])}."


def _details(preset: harness.Preset, rows: Found) -> list[str]:
    """What is shown of rows that are there."""
    used = [row for own in rows.values() for row in own]
    if not used:
        return []
    return [
        f"![Test accuracy against sparsity](figures/{FIGURES[preset]})",
        against(rows),
        averaged(rows),
        prior(rows),
        cut(rows),
        markdown.made(used),
    ]


def size_of(settings: Compression) -> str:
    """Describe a size."""
    size = settings.size
    pooled = f", pooled to {32 // size.pool}x{32 // size.pool}" if size.pool > 1 else ""
    if size.data != "cifar10":
        pooled = f" of {size.data}"
    return (
        f"ResNet{size.depth} of widths {', '.join(map(str, size.widths))}, {size.num_images:,} "
        f"training images{pooled}, batch {size.batch_size:,}, {size.dense_epochs:,} dense and "
        f"{size.epochs:,} sparse epochs, {size.compute}"
    )


def final(rows: Found) -> str:
    sparsities = sorted({cell.sparsity for cell in rows if cell.sparsity is not None})
    lines = []
    for arm, start in dict.fromkeys((cell.arm, cell.start) for cell in rows):
        own = rows.get(Cell(arm, None, start))
        if own is not None:
            zeros = [100 * row["metrics"]["sparsity"] for row in own]
            at = f" at {markdown.mean(zeros, 1)} % zeros" if own and arm != "dense" else ""
            lines.append([label(arm, start), over(own, percent) + at, *["-"] * len(sparsities)])
            continue
        cells = [Cell(arm, sparsity, start) for sparsity in sparsities]
        texts = [over(rows[cell], percent) if cell in rows else "-" for cell in cells]
        lines.append([label(arm, start), "-", *texts])
    return markdown.table(["arm", "no target", *(f"{100 * s:g} %" for s in sparsities)], lines)


def _papers() -> str:
    sparsities = list(next(iter(POSTER.values())))
    lines = []
    for arm, figures in POSTER.items():
        texts = [
            f"{figure:.2f} ({', '.join(f'{log:.2f}' for log in LOGS[arm][sparsity])})"
            for sparsity, figure in figures.items()
        ]
        # A name out of a table is any text to mypy.
        lines.append([ARMS[arm].label, *texts])  # type: ignore[index]
    return markdown.table(["arm", *(f"{100 * s:g} %" for s in sparsities)], lines)


def _targets(rows: Found) -> str:
    lines = []
    for what, sparsity, average, target in TARGETS:

        def read(metrics: Any, average: bool = average) -> float:
            return percent(metrics["average"] if average else metrics)

        ours = {
            cell: own
            for cell, own in rows.items()
            if cell.sparsity == sparsity
            and cell.start == "own"
            and ARMS[cell.arm].kind != "released"
            and own
            and (ARMS[cell.arm].cycles or not average)
            and (sparsity is not None or cell.arm == "dense")
        }
        if not ours:
            lines.append([what, f"{target:.1f}", *[markdown.NOT_RUN] * 3])
            continue
        means = {
            cell: statistics.fmean(read(row["metrics"]) for row in own)
            for cell, own in ours.items()
        }
        best = max(means, key=means.__getitem__)
        reached = "yes" if means[best] >= target else "no"
        lines.append([what, f"{target:.1f}", ARMS[best.arm].label, over(ours[best], read), reached])
    return markdown.table(["", "target", "arm", "measured", "reached"], lines)
