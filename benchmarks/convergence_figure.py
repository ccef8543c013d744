# SPDX-License-Identifier: Apache-2.0
"""The rows of `convergence.py` as two figures, one a theorem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import frame
from convergence import PRESETS
from convergence_table import FIGURES, Found, found, ladder
from fixed_point import FUNCTIONS

__all__ = ["figure"]

SIZE = (7.2, 4.6)
"""Inches: letters stay readable at half the width of a page."""

DPI = 150

MARKERS = "osD^"


def figure(preset: frame.Preset, results: frame.Results, folder: Path) -> list[Path]:
    """Draw what there are rows for.

    Args:
        preset: which configurations to look for.
        results: the rows of the script.
        folder: where to; made if need be.

    Returns:
        The files written; none where there is no row.

    Raises:
        UsageError: the rows are damaged.
    """
    rates, weak = found(PRESETS[preset], results)
    written = []
    for name, draw, cells in zip(FIGURES, (_latents, _coefficients), (rates, weak), strict=True):
        there = [cell for cell in cells if cell[2] is not None]
        if there:
            folder.mkdir(parents=True, exist_ok=True)
            with plt.rc_context({"font.size": 12, "legend.fontsize": 10}):
                picture = draw(there)
            picture.savefig(folder / name, dpi=DPI, metadata={"Software": None})
            plt.close(picture)
            written.append(folder / name)
    return written


def _latents(rates: Found) -> Any:
    """Error against the gain; the steps run from left to right."""
    picture, axes = plt.subplots(figsize=SIZE, layout="constrained")
    for number, (gain, _, row) in enumerate(rates):
        assert row is not None
        rate = row["metrics"]["rate"]
        gains, error, spread, linear = (
            np.array(rate[name]) for name in ("gain", "error", "error_se", "linear_theory")
        )
        slope = rate["slope"]["estimate"]
        axes.errorbar(
            gains,
            error,
            2 * spread,
            color=f"C{number}",
            marker=MARKERS[number % len(MARKERS)],
            markersize=3.5,
            linestyle="none",
            linewidth=1,
            label=rf"$\alpha$ = {gain.exponent:g}, C = {gain.coefficient:g}: slope {slope:.2f}",
        )
        axes.plot(gains, linear, color=f"C{number}", linewidth=1.2)
    lowest = min(min(row["metrics"]["rate"]["gain"]) for _, _, row in rates if row is not None)
    ends = np.array([lowest, 0.1])
    axes.plot(ends, ends, color="0.5", linestyle=":", label="slope 1")
    axes.plot([], [], color="0.3", linewidth=1.2, label="linear theory")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=r"gain $\omega_k$",
        ylabel=r"E $|\theta_k - \theta^*|^2$",
    )
    axes.invert_xaxis()
    axes.legend(loc="lower left")
    return picture


def _coefficients(weak: Found) -> Any:
    """Size of the bias against the step size, a panel a coefficient."""
    picture, panels = plt.subplots(
        1, 2, figsize=(SIZE[0] * 1.25, SIZE[1]), layout="constrained", sharey=True
    )
    step_sizes, read = ladder(weak)
    means = {"signal": panels[0], "null": panels[1]}
    for which, (name, axes) in enumerate(means.items()):
        for place, label in enumerate(FUNCTIONS):
            bias, error, exact = (
                read[each][:, which, place] for each in ("bias", "bias_se", "bias_by_quadrature")
            )
            axes.plot(step_sizes, np.abs(exact), color=f"C{place}", linewidth=1.2)
            axes.errorbar(
                step_sizes,
                np.abs(bias),
                2 * error,
                color=f"C{place}",
                marker=MARKERS[place],
                markersize=5,
                linestyle="none",
                label=label.replace("beta", r"$\beta$"),
            )
        ends = np.array([step_sizes.min(), step_sizes.max()])
        axes.plot(ends, 0.4 * ends, color="0.5", linestyle=":", label="slope 1")
        axes.plot([], [], color="0.3", linewidth=1.2, label="by quadrature")
        axes.set(
            xscale="log", yscale="log", xlabel=r"step size $\epsilon$", title=f"{name} coefficient"
        )
    panels[0].set_ylabel("|bias| of the mean of a test function")
    panels[1].legend(loc="lower right")
    return picture
