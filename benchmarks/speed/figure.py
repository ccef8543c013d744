# SPDX-License-Identifier: Apache-2.0
"""The rows as a figure a preset: steps, the sampler alone, thresholds, chains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import figures
from benchmarks.speed.clock import Spread, ratio
from benchmarks.speed.table import found, picture_name

SIZE = (9.6, 7.2)

LABELS = {
    "ours": "ours",
    "no_noise": "no noise",
    "no_latents": "no latents",
    "no_pruning": "no pruning",
    "bare": "none of them",
    "floor": "floor",
}

Rows = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
"""Configurations and metrics of a section."""


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    """Draw what there are rows for; paper is cpu and gpu (`harness.Figure`)."""
    written = []
    for name, races in found(preset, results).items():
        there = [(race.config, row["metrics"]) for race, rows in races.items() for row in rows]
        if not there:
            continue
        file = folder / picture_name(name)
        fonts = {"font.size": 10, "legend.fontsize": 8}
        with figures.page(file, SIZE, 2, 2, fonts=fonts) as (_, panels):
            _draw(panels, there)
        written.append(file)
    return written


def _draw(panels: Any, rows: Rows) -> None:
    draws = {"step": _steps, "sampler": _sampler, "threshold": _threshold, "chains": _chains}
    for axes, (section, draw) in zip(panels.flat, draws.items(), strict=True):
        there = [(config, metrics) for config, metrics in rows if config["section"] == section]
        if there:
            draw(axes, there)
        else:
            axes.text(0.5, 0.5, f"{section}: not run", ha="center", va="center")
            axes.set_axis_off()


def _steps(axes: Any, rows: Rows) -> None:
    """Bars: each contender over plain SGD, by network."""
    names = [name for name in LABELS if name in rows[0][1]["seconds"]]
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        places = np.arange(len(rows)) + (number - (len(names) - 1) / 2) * width
        spreads = [ratio(metrics["seconds"], name, "sgd") for _, metrics in rows]
        medians, bars = _bars(spreads)
        colour = "0.6" if name == "floor" else f"C{number}"
        axes.bar(places, medians, width, yerr=bars, label=LABELS[name], color=colour)
    axes.axhline(1.0, color="0.3", linestyle=":")
    axes.set_xticks(range(len(rows)), [config["net"] for config, _ in rows])
    axes.set(ylabel="time of a step over plain SGD", title="One training step")
    axes.legend(ncols=2)


def _sampler(axes: Any, rows: Rows) -> None:
    """Lines: each contender over the floor, by size."""
    for name in [*LABELS, "pass"]:
        if name != "floor" and name in rows[0][1]["seconds"]:
            _line(axes, rows, name, "floor", LABELS.get(name, "one pass, no normals"))
    axes.axhline(1.0, color="0.3", linestyle=":", label="floor")
    axes.set(xscale="log", yscale="log", xlabel="weights", ylabel="time over the floor")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 5)  # room for the legend
    axes.set_title("The sampler alone")
    axes.legend(ncols=2, loc="lower center")


def _threshold(axes: Any, rows: Rows) -> None:
    for name, label in (("sort", "jnp.sort"), ("top_k", "lax.top_k")):
        _line(axes, rows, name, "ours", label)
    axes.axhline(1.0, color="0.3", linestyle=":", label="ours")
    axes.set(xscale="log", yscale="log", xlabel="weights", ylabel="time over ours")
    axes.set_title("Pruning 90 % by magnitude")
    axes.legend()


def _chains(axes: Any, rows: Rows) -> None:
    config, metrics = rows[0]
    counts = np.array(config["counts"])
    one = str(counts.min())
    spreads = [ratio(metrics["seconds"], str(count), one) for count in counts]
    medians, bars = _bars(spreads)
    axes.errorbar(counts, medians, bars, marker="o", label="by vmap")
    axes.plot(counts, counts / counts.min(), color="0.5", linestyle=":", label="one after another")
    axes.set(xscale="log", yscale="log", xlabel="chains", ylabel="time of a step over one chain")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_title("Chains side by side")
    axes.legend()


def _line(axes: Any, rows: Rows, top: str, bottom: str, label: str) -> None:
    found = {
        config["size"]: ratio(metrics["seconds"], top, bottom)
        for config, metrics in rows
        if top in metrics["seconds"]
    }
    sizes, (medians, bars) = list(found), _bars(list(found.values()))
    axes.errorbar(sizes, medians, bars, marker="o", markersize=4, label=label)


def _bars(spreads: Sequence[Spread]) -> tuple[np.ndarray, np.ndarray]:
    """Medians, and the distances of the quartiles below and above."""
    median, low, high = np.array(spreads).T
    return median, np.stack([median - low, high - median])
