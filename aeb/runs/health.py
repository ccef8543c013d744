# SPDX-License-Identifier: Apache-2.0
"""Describe in sentences what is fine with a run and what to look at, from its folder.

A line about a problem ends in what to do about it, in the options of `aeb compress`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from aeb.runs.folder import Run

__all__ = ["Line", "health"]

LOST = 0.01
"""The loss of accuracy by a sparse network above which it is reported."""

MORE_SQUARES = 0.1
"""The relative rise of the squared error by a sparse network above which it is reported."""

ROSE = 1.2
"""How many times its smallest value the loss may be at the end."""


class Line(NamedTuple):
    """One finding."""

    is_well: bool
    text: str


def health(run: Run) -> list[Line]:
    """Judge a run.

    Args:
        run: made by `aeb.runs.read_run`.

    Returns:
        The findings, problems first.

    Example:
        >>> from pathlib import Path
        >>> for line in health(Run(Path("run"), "net on rows", {}, [], None)):
        ...     print(line.is_well, line.text)
        False The run is not finished; the same command goes on with it.
    """
    found = [*_end(run), *_loss(run)]
    for name, facts in (run.results or {}).get("networks", {}).items():
        if name != "dense":
            label = run.label(name)
            found += _zeros(run, name, label, facts["leaves"])
            found += _rho(run, name, label, facts["rho"])
    found += _scores(run)
    return sorted(found, key=lambda line: line.is_well)


def _end(run: Run) -> list[Line]:
    if run.results is not None:
        return [Line(True, "The run is finished.")]
    last = run.metrics[-1] if run.metrics else None
    where = f", at step {last['step']:,} of its stage {last['stage']}" if last else ""
    return [Line(False, f"The run is not finished{where}; the same command goes on with it.")]


def _loss(run: Run) -> list[Line]:
    """Judge the loss since the ramp reached its target."""
    found = []
    for (seed, stage), rows in stages(run).items():
        name = run.label(stage) if seed == 0 else f"{run.label(stage)} (seed {seed})"
        losses = [row["loss"] for row in rows]
        if any(loss is None for loss in losses):
            found.append(Line(False, f"{name}: the loss was not finite; lower --learning-rate."))
            continue
        top = max((row.get("target") or 0.0 for row in rows), default=0.0)
        late = [row for row in rows if (row.get("target") or 0.0) >= top - 1e-6]
        least = min(late, key=lambda row: row["loss"])
        if losses[-1] > ROSE * least["loss"] + 1e-3:
            found.append(
                Line(
                    False,
                    f"{name}: the loss rose from {least['loss']:.4g} at step {least['step']:,} to "
                    f"{losses[-1]:.4g} at the end, on rows that it was not trained on; fewer steps "
                    "or a lower --learning-rate may serve better.",
                )
            )
        else:
            found.append(Line(True, f"{name}: the loss ends at {losses[-1]:.4g}, near its least."))
    return found


def _zeros(run: Run, name: str, label: str, leaves: list[dict[str, Any]]) -> list[Line]:
    size, zeros = (sum(leaf[key] for leaf in leaves) for key in ("size", "zeros"))
    found = []
    wanted = run.settings.get("sparsity")
    if wanted is not None and name != "learned":
        # A ramp is a float32, so its count may be off by rounding.
        is_there = abs(zeros - wanted * size) <= 1.0 + 1e-6 * size
        verb = "reached" if is_there else "missed"
        text = f"{label}: the target was {verb}, {zeros / size:.2%} of {wanted:.2%} zeros"
        if not is_there and zeros < wanted * size:
            text += f"; give the ramp more steps with {_longer(run)}, or lower --sparsity"
        elif not is_there:
            text += "; weights that were zero at the start count too, so see the zeros by leaf"
        found.append(Line(is_there, f"{text}."))
    gone = [leaf["path"] for leaf in leaves if leaf["zeros"] == leaf["size"] > 1]
    if gone:
        todo = "use --scope relative, or lower --sparsity"
        if not _is_own(run):
            todo = "lower --v0" if name == "learned" else "lower --sparsity"
        elif wanted is None:
            todo = "give --sparsity a number"
        found.append(Line(False, f"{label}: no weight is left in {', '.join(gone)}; {todo}."))
    return found


def _rho(run: Run, name: str, label: str, rho: dict[str, list[int]] | None) -> list[Line]:
    """Judge the inclusion probabilities."""
    if rho is None:
        return []
    counts = [sum(column) for column in zip(*rho.values(), strict=True)]
    bins, total = len(counts), sum(counts)
    share = [count / total for count in counts]
    middle = sum(share[round(0.4 * bins) : round(0.6 * bins)])
    if middle > 0.9:
        text = f"rho stays near 1/2: the prior has learned little; raise {_longer(run)}."
        return [Line(False, f"{label}: {text}")]
    for is_extreme, value, side, way in (
        (share[0] > 0.999, 0, "above", "lower"),
        (share[-1] > 0.999, 1, "below", "raise"),
    ):
        if is_extreme:
            text = f"rho is {value} nearly everywhere: v0 is far {side} the weights"
            if not _is_own(run):
                text += f"; {way} --v0."
            elif run.settings.get("sparsity") is None:
                text += (
                    ", from which it was taken; give --sparsity a number, or --where fewer leaves."
                )
            else:
                text += ", from which it was taken; nothing to do if the scores are good."
            return [Line(False, f"{label}: {text}")]
    slab = sum(share[bins // 2 :])
    return [Line(True, f"{label}: the prior takes {slab:.1%} of the weights for slab.")]


def _scores(run: Run) -> list[Line]:
    """Compare each sparse network with the dense one."""
    scores = run.scores[1]
    dense = scores.get("dense", {})
    found = []
    for name, mean in scores.items():
        if name == "dense":
            continue
        for judge, key in ((_accuracy, "accuracy"), (_squares, "half_mse")):
            if None not in (dense.get(key), mean.get(key)):
                line = judge(run, dense, mean)
                found.append(Line(line.is_well, f"{run.label(name)}: {line.text}"))
    return found


def _accuracy(run: Run, dense: dict[str, Any], mean: dict[str, Any]) -> Line:
    lost = dense["accuracy"] - mean["accuracy"]
    points = f"{100 * abs(lost):.2f} points of accuracy on {run.scored_on}"
    if points.startswith("0.00"):
        text = f"it is as often right as the dense network on {run.scored_on}"
    else:
        text = f"it {'loses' if lost > 0 else 'wins'} {points}"
    # A network may be right more often, but have a worse NLL because it is overconfident.
    text += f"; NLL {mean['nll']:.4g}, that of the dense network {dense['nll']:.4g}."
    if lost <= LOST:
        return Line(True, text)
    spread = math.sqrt(dense["accuracy"] * (1 - dense["accuracy"]) / (run.num_scored or math.inf))
    if lost < 2 * spread:
        return Line(False, f"{text} So few rows may show this by chance; score it on more.")
    return Line(False, f"{text} {_milder(run)}")


def _squares(run: Run, dense: dict[str, Any], mean: dict[str, Any]) -> Line:
    text = (
        f"half MSE {mean['half_mse']:.4g} on {run.scored_on}, that of the dense network "
        f"{dense['half_mse']:.4g}."
    )
    if mean["half_mse"] <= (1 + MORE_SQUARES) * dense["half_mse"]:
        return Line(True, text)
    return Line(False, f"{text} {_milder(run)}")


def _is_own(run: Run) -> bool:
    """Return whether the network is the user's own, whose options differ from those for ours."""
    return "scope" in run.settings


def _longer(run: Run) -> str:
    """Return the option that makes a run longer."""
    return "--num-steps" if run.settings.get("num_steps") else "--epochs"


def _milder(run: Run) -> str:
    """Say what keeps more of a network."""
    fewer = "lower --sparsity" if run.settings.get("sparsity") is not None else "set --sparsity"
    return f"Raise {_longer(run)}, or {fewer}."


def stages(run: Run) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """Group the rows of a run by seed and stage, in the order in which they began."""
    grouped: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in run.metrics:
        grouped.setdefault((row.get("seed", 0), row["stage"]), []).append(row)
    return grouped
