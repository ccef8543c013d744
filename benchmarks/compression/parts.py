# SPDX-License-Identifier: Apache-2.0
"""Tables of the compression rows that several pages show: each a table and what it says."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.compression import ARMS, ArmName
from benchmarks.compression.run import Cell
from benchmarks.harness import markdown

__all__ = [
    "Found",
    "Row",
    "against",
    "averaged",
    "cut",
    "gains",
    "label",
    "over",
    "percent",
    "prior",
]

Row = Mapping[str, Any]

Found = dict[Cell, list[Row]]
"""Arm, sparsity and start to the rows there are, one a seed."""

AGAINST = """\
Each arm less the control at the same sparsity, from the same start and with the same minibatches,
in points of test accuracy at the last epoch: mean ± standard error over seeds (their number in
brackets). A difference of less than two standard errors is none that these seeds can show."""

AVERAGED = """\
The last network alone, and the predictions of the last networks of the cycles averaged, each with
its BatchNorm statistics refreshed. NLL in nats, ECE in per cent."""

PRIOR = """\
What the prior has learned at the end, means over seeds: the share of weights with rho > 0.5; the
share not decided, rho between 0.1 and 0.9; delta from the least to the largest of the layers; the
standard deviation of the noise injected in a step, over the root mean square of what the gradient
moves in it and over the median magnitude of the weights, medians over seeds, where a look found the
noise largest (with cycles the looks are at their ends, where the gradient's step is next to
nothing); the best test epoch, which chooses by the test set; zeros, counted over all parameters."""

CUT = """\
No target: the prior has half of the epochs to form rho; then the weights with rho below 0.5 are
cut, and return where rho rises. In the middle, one network cut in two ways to as many zeros, with
no training in between; at the end, the accuracy of the last epoch."""


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


def against(rows: Found) -> str:
    """Set each arm against the control, seed by seed."""
    lines = []
    for cell in rows:
        if cell.arm == "control" or cell.sparsity is None:
            continue
        text = gains(rows, cell)
        lines.append([label(cell.arm, cell.start), f"{100 * cell.sparsity:g} %", text])
    return _said(["arm", "zeros", "less the control"], lines, AGAINST)


def gains(rows: Found, cell: Cell) -> str:
    """Write the mean gain of a cell over the control, seed by seed."""
    control = {row["seed"]: row for row in rows.get(Cell("control", *cell[1:]), [])}
    values = [
        percent(row["metrics"]) - percent(control[row["seed"]]["metrics"])
        for row in rows[cell]
        if row["seed"] in control
    ]
    return f"{markdown.mean(values)} ({len(values)})" if values else markdown.NOT_RUN


def averaged(rows: Found) -> str:
    """Set the last network beside the average over the samples."""
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
    return _said(heads, lines, AVERAGED)


def prior(rows: Found) -> str:
    """Tell what the prior has learned, and how large the noise is."""
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
    return _said([*heads, "best test epoch", "zeros"], lines, PRIOR)


def cut(rows: Found) -> str:
    """Set a cut by rho beside one by magnitude, where there is no target."""
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
    return _said([*heads, "accuracy at the end"], lines, CUT)


def felt(metrics: Sequence[Any], beside: str) -> float:
    """Injected noise over the `step` or the `weight`, at the look where it is largest.

    The median over seeds; infinite where the gradient's part is lost in the noise.
    """
    looks = [max(m["history"], key=lambda look: look["noise"]) for m in metrics]
    return statistics.median(
        look["noise"] / look[beside] if look[beside] else math.inf for look in looks
    )


def _felt(metrics: Sequence[Any], beside: str) -> str:
    ratio = felt(metrics, beside)
    return "0" if ratio == 0 else "over 10" if ratio > 10 else f"{ratio:.2g}"


def _said(heads: Sequence[str], lines: Sequence[Sequence[str]], text: str) -> str:
    """Write a table and what it says; "" where it has no line."""
    return f"{markdown.table(heads, lines)}\n\n{text}" if lines else ""
