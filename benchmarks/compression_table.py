# SPDX-License-Identifier: Apache-2.0
"""The rows of `compress.py` as Markdown, the paper's figures and our targets beside them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import frame
from compress import PRESETS, Cell, Compression
from compressing import ARMS, DEPARTURES, ArmName
from frame import markdown

__all__ = ["FIGURES", "LOGS", "POSTER", "TARGETS", "Found", "found", "over", "percent", "report"]

Row = Mapping[str, Any]

Found = dict[Cell, list[Row]]
"""Arm, sparsity and start to the rows there are, one a seed."""

FIGURES = ("compression.png",)

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

FINAL = """\
Test accuracy in per cent at the last epoch, mean ± standard deviation over seeds (their number in
brackets), by the sparsity over all parameters. {size}"""

PAPER = """\
The authors' own figures, from their dense network: on the poster, which is the best of all test
evaluations of a run, and in brackets at the last epoch of the runs whose logs they keep. All are of
one seed, the best of 65 by the test accuracy of the dense network."""

REACHED = """\
Targets at the full size, and the arm of ours or of the controls that comes nearest. As there are
several of these, the nearest by test accuracy flatters a little."""

AVERAGED = """\
The last network alone, and the predictions of the last networks of the cycles averaged, each with
its BatchNorm statistics refreshed. NLL in nats, ECE in per cent."""

PRIOR = """\
What the prior has learned at the end, means over seeds: the share of weights with rho > 0.5; the
share not decided, rho between 0.1 and 0.9; delta from the least to the largest of the layers; the
standard deviation of the noise injected in a step, over the root mean square of what the gradient
moves in it and over the median magnitude of the weights, both medians over the looks; the best test
epoch, which chooses by the test set; and zeros, counted over all parameters."""

CUT = """\
No target: the prior has half of the epochs to form rho; then the weights with rho below 0.5 are
cut, and return where rho rises. In the middle, one network cut in two ways to as many zeros, with
no training in between; at the end, the accuracy of the last epoch."""

DEPARTED = "The authors' code, and what is done here in its place:"


def report(preset: frame.Preset, results: frame.Results) -> str:
    """Make the section of the report.

    Args:
        preset: which configurations to look for.
        results: the rows of the script.

    Returns:
        Markdown, with "not run" where an arm has no row.

    Raises:
        UsageError: the rows are damaged.
    """
    settings = PRESETS[preset]
    rows = found(settings, results)
    used = [row for own in rows.values() for row in own]
    full = preset == "paper"
    parts = [
        "## Compression of ResNet20",
        f"`python benchmarks/compress.py --preset {preset}`: {_size(settings)}",
        _final(rows),
        FINAL.format(size="" if full else "This is a reduced size; the targets are not for it."),
        f"![Test accuracy against sparsity](figures/{FIGURES[0]})" if used else "",
        _papers(),
        PAPER,
        *((_targets(rows), REACHED) if full else ()),
        _averaged(rows),
        AVERAGED,
        _prior(rows),
        PRIOR,
        _cut(rows),
        CUT,
        DEPARTED,
        markdown.table(["there", "here"], [list(pair) for pair in DEPARTURES]),
        markdown.made(used),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def found(settings: Compression, results: frame.Results) -> Found:
    """Look up the rows of each cell."""
    rows = results.read()
    looked: Found = {}
    for cell, seeds in settings.cells():
        config = settings.config(cell)
        keys = [frame.row_key(config, settings.seed + number) for number in range(seeds)]
        looked[cell] = [rows[key] for key in keys if key in rows]
    return looked


def over(rows: Sequence[Row], read: Callable[[Any], float | None], digits: int = 2) -> str:
    """Write the mean over rows, their deviation and their number; "not run" where there is none."""
    if not rows:
        return markdown.NOT_RUN
    text = markdown.mean([read(row["metrics"]) for row in rows], digits, deviation=True)
    return f"{text} ({len(rows)})"


def percent(metrics: Any) -> float:
    """Read the accuracy of the last epoch in per cent."""
    return 100 * float(metrics["accuracy"])


def label(arm: ArmName, start: str) -> str:
    """Name an arm, and the authors' start."""
    return ARMS[arm].label + (", from the authors' dense" if start == "authors" else "")


def _size(settings: Compression) -> str:
    size = settings.size
    pooled = f", pooled to {32 // size.pool}x{32 // size.pool}" if size.pool > 1 else ""
    if size.data != "cifar10":
        pooled = f" of {size.data}"
    return (
        f"ResNet{size.depth} of widths {', '.join(map(str, size.widths))}, {size.num_images:,} "
        f"training images{pooled}, batch {size.batch_size:,}, {size.dense_epochs:,} dense and "
        f"{size.epochs:,} sparse epochs, {size.compute}."
    )


def _final(rows: Found) -> str:
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
        lines.append([ARMS[arm].label, *texts])  # type: ignore[index]
    return markdown.table(["arm", *(f"{100 * s:g} %" for s in sparsities)], lines)


def _targets(rows: Found) -> str:
    lines = []
    for what, sparsity, averaged, target in TARGETS:

        def read(metrics: Any, averaged: bool = averaged) -> float:
            return percent(metrics["average"] if averaged else metrics)

        ours = {
            cell: own
            for cell, own in rows.items()
            if cell.sparsity == sparsity
            and cell.start == "own"
            and ARMS[cell.arm].kind != "released"
            and own
            and (ARMS[cell.arm].cycles or not averaged)
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


def _averaged(rows: Found) -> str:
    lines = []
    for cell, own in rows.items():
        if not ARMS[cell.arm].cycles:
            continue
        line = [label(cell.arm, cell.start), f"{100 * (cell.sparsity or 0):g} %"]
        for name, factor, digits in (("accuracy", 100, 2), ("nll", 1, 3), ("ece", 100, 2)):
            for of in (lambda m: m, lambda m: m["average"]):
                values = [factor * of(row["metrics"])[name] for row in own]
                text = markdown.mean(values, digits, deviation=True) if own else markdown.NOT_RUN
                line.append(text)
        lines.append(line)
    heads = ["arm", "zeros", "accuracy", "averaged", "NLL", "averaged", "ECE", "averaged"]
    return markdown.table(heads, lines) if lines else ""


def _prior(rows: Found) -> str:
    lines = []
    for cell, own in rows.items():
        at = "-" if cell.sparsity is None else f"{100 * cell.sparsity:g} %"
        line = [label(cell.arm, cell.start), at]
        if not own:
            lines.append([*line, *[markdown.NOT_RUN] * 7])
            continue
        metrics = [row["metrics"] for row in own]
        latents = [m["latent"] for m in metrics if m["latent"] is not None]
        if latents:
            deltas = [list(own["delta"].values()) for own in latents]
            line += [
                f"{statistics.fmean(own['rho_share'] for own in latents):.1%}",
                f"{statistics.fmean(own['rho_undecided'] for own in latents):.1%}",
                f"{statistics.fmean(map(min, deltas)):.2f} to "
                f"{statistics.fmean(map(max, deltas)):.2f}",
            ]
        else:
            line += ["-"] * 3
        line += [_felt(metrics, "step"), _felt(metrics, "weight")]
        best = [100 * m["best_test_epoch"]["accuracy"] for m in metrics]
        zeros = [m["zeros"] for m in metrics]
        line += [markdown.mean(best, 2, deviation=True), f"{statistics.fmean(zeros):,.0f}"]
        lines.append(line)
    heads = ["arm", "target", "rho > 0.5", "undecided", "delta", "noise / step", "noise / weight"]
    return markdown.table([*heads, "best test epoch", "zeros"], lines)


def felt(metrics: Sequence[Any], beside: str) -> float:
    """Median over seeds and looks of the injected noise over the `step` or the `weight`."""
    ratios = [
        look["noise"] / look[beside] for m in metrics for look in m["history"] if look[beside]
    ]
    return statistics.median(ratios) if ratios else 0.0


def _felt(metrics: Sequence[Any], beside: str) -> str:
    ratio = felt(metrics, beside)
    return "0" if ratio == 0 else f"{ratio:.2g}"


def _cut(rows: Found) -> str:
    lines = []
    for cell, own in rows.items():
        if ARMS[cell.arm].score != "learned":
            continue
        line = [label(cell.arm, cell.start)]
        for name in ("sparsity", "before", "by_rho", "by_magnitude"):
            values = [100 * row["metrics"]["cut"][name] for row in own]
            text = markdown.mean(values, deviation=True) if own else markdown.NOT_RUN
            line.append(text)
        line.append(over(own, lambda m: 100 * m["sparsity"]))
        lines.append([*line, over(own, percent)])
    heads = ["arm", "zeros %", "before", "cut by rho", "cut by magnitude", "zeros % at the end"]
    return markdown.table([*heads, "accuracy at the end"], lines) if lines else ""
