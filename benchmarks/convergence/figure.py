# SPDX-License-Identifier: Apache-2.0
"""The rows as two figures, one a theorem; bars are two standard errors."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullLocator

from benchmarks import harness
from benchmarks.convergence.recipe import FUNCTIONS
from benchmarks.convergence.run import PRESETS
from benchmarks.convergence.table import FIGURES, Found, found, ladder
from benchmarks.harness import figures

SIZE = (8.4, 5.2)

RATIOS = (0.6, 2.0)
"""Where error / omega_k is shown."""

MARKERS = "osD^"


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    rates, weak = found(PRESETS[preset], results)
    written = []
    for name, draw, cells in zip(FIGURES, (_latents, _coefficients), (rates, weak), strict=True):
        there = [cell for cell in cells if cell[2] is not None]
        if there:
            fonts = {"font.size": 12, "legend.fontsize": 10}
            shared = draw is _coefficients
            with figures.page(folder / name, SIZE, 1, 2, fonts=fonts, sharey=shared) as page:
                draw(*page, there)
            written.append(folder / name)
    return written


def _latents(picture: Any, panels: Any, rates: Found) -> None:
    """Error against the gain, and what times the gain it is; the steps run from left to right."""
    whole, ratio = panels
    for number, (gain, _, row) in enumerate(rates):
        assert row is not None
        rate = row["metrics"]["rate"]
        gains, error, spread, linear = (
            np.array(rate[name]) for name in ("gain", "error", "error_se", "linear_theory")
        )
        label = rf"$\alpha$ = {gain.exponent:g}, C = {gain.coefficient:g}: "
        label += f"slope {rate['slope']['estimate']:.2f}"
        colour, marker = f"C{number}", MARKERS[number % len(MARKERS)]
        for axes, unit in ((whole, 1.0), (ratio, gains)):
            axes.plot(gains, linear / unit, color=colour, linewidth=1.8, zorder=3)
            bars, faint = 2 * spread / unit, {"linewidth": 1, "alpha": 0.5, "label": label}
            figures.marks(axes, gains, error / unit, bars, colour, marker, 3.5, **faint)
    lowest = min(min(row["metrics"]["rate"]["gain"]) for _, _, row in rates if row is not None)
    ends = np.array([lowest, 0.1])
    whole.plot(ends, ends, color="0.5", linestyle=":", label="slope 1")
    whole.plot([], [], color="0.3", linewidth=1.2, label="linear theory")
    whole.set(yscale="log", ylabel=r"E $|\theta_k - \theta^*|^2$")
    # Where the factor settles; a gain without one is above.
    ratio.set(ylim=RATIOS, ylabel=r"E $|\theta_k - \theta^*|^2$ / $\omega_k$")
    for axes in (whole, ratio):
        axes.set(xscale="log", xlabel=r"gain $\omega_k$")
        axes.invert_xaxis()
    figures.legend_above(picture, whole, 2)


def _coefficients(picture: Any, panels: Any, weak: Found) -> None:
    """Size of the bias against the step size, a panel a coefficient."""
    step_sizes, read = ladder(weak)
    means = {"signal": panels[0], "null": panels[1]}
    for which, (name, axes) in enumerate(means.items()):
        for place, label in enumerate(FUNCTIONS):
            bias, error, exact = (
                read[each][:, which, place] for each in ("bias", "bias_se", "bias_by_quadrature")
            )
            axes.plot(step_sizes, np.abs(exact), color=f"C{place}", linewidth=1.2)
            drawn, label = (f"C{place}", MARKERS[place], 5), label.replace("beta", r"$\beta$")
            figures.marks(axes, step_sizes, np.abs(bias), 2 * error, *drawn, label=label)
        ends = np.array([step_sizes.min(), step_sizes.max()])
        axes.plot(ends, 0.4 * ends, color="0.5", linestyle=":", label="slope 1")
        axes.plot([], [], color="0.3", linewidth=1.2, label="by quadrature")
        axes.set(xscale="log", yscale="log", title=f"{name} coefficient")
        axes.set_xlabel(r"step size $\epsilon$")
        axes.set_xticks(step_sizes, [f"{step_size:g}" for step_size in step_sizes], rotation=45)
        axes.xaxis.set_minor_locator(NullLocator())
    # A bar that reaches below 0 has no end on this scale.
    panels[0].set_ylim(bottom=np.abs(read["bias_by_quadrature"]).min() / 4)
    panels[0].set_ylabel("|bias| of the mean")
    figures.legend_above(picture, panels[0], 3)
