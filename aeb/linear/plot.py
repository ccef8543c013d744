# SPDX-License-Identifier: Apache-2.0
"""Plot the result of a regression in four panels, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from aeb.linear.result import Regression

__all__ = ["plot"]

MOST_SETS = 9
"""The number of credible sets that get their own colour."""

MOST_NAMED = 12
"""The number of columns whose names stand beside their inclusion probabilities."""


def plot(fit: Regression, columns: int) -> Any:
    """Draw inclusion, intervals, model size and traces. `Regression.plot` describes the panels.

    Args:
        fit: the fit to draw.
        columns: the number of columns whose intervals to show.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplot_mosaic(
        [["inclusion", "intervals"], ["size", "columns"], ["size", "scale"]],
        figsize=(10, 7.5),
        height_ratios=[2, 1, 1],
        layout="constrained",
    )
    _inclusion(fit, axes["inclusion"])
    _intervals(fit, axes["intervals"], columns)
    _size(fit, axes["size"])
    _traces(fit, axes["columns"], axes["scale"])
    return figure


def _inclusion(fit: Regression, axis: Any) -> None:
    place = np.arange(len(fit.names))
    axis.plot(place, fit.inclusion, ".", color="0.6", markersize=4)
    # A set of one column shows no more than the height of its point.
    sets = [own for own in fit.credible_sets() if len(own.columns) > 1][:MOST_SETS]
    for number, own in enumerate(sets):
        axis.plot(
            own.columns,
            fit.inclusion[own.columns],
            "o",
            color=f"C{number}",
            label=f"{len(own.columns)} columns, {own.probability:.2f}",
        )
    if sets:
        axis.legend(title="one of them is in", fontsize="small")
    for j in np.argsort(-fit.inclusion, kind="stable")[:MOST_NAMED]:
        if fit.inclusion[j] > 0.1:
            axis.annotate(
                fit.names[j],
                (j, fit.inclusion[j]),
                (4, 2),
                textcoords="offset points",
                fontsize="small",
            )
    axis.axhline(0.5, color="0.8", linewidth=1, zorder=0)
    axis.margins(x=0.08)
    axis.set(xlabel="column", ylabel="inclusion probability", ylim=(-0.03, 1.08))


def _intervals(fit: Regression, axis: Any, columns: int) -> None:
    chosen = np.argsort(-fit.inclusion, kind="stable")[:columns]
    place = np.arange(len(chosen))
    for interval, mean, shift, color, label in (
        (fit.interval_averaged, fit.coefficients, -0.12, "C0", "averaged over models"),
        (fit.interval_if_included, fit.coefficients_if_included, 0.12, "C1", "if included"),
    ):
        axis.hlines(place + shift, *interval[chosen].T, color=color, label=label)
        axis.plot(mean[chosen], place + shift, "o", color=color, markersize=4)
    axis.axvline(0.0, color="0.8", linewidth=1, zorder=0)
    axis.set_yticks(place, [fit.names[j] for j in chosen])
    axis.invert_yaxis()
    axis.legend(fontsize="small")
    axis.set(xlabel=f"coefficient, {100 * fit.level:g} % interval")


def _size(fit: Regression, axis: Any) -> None:
    prior, posterior = fit.model_size
    # End where both distributions have nothing more to show.
    last = int(np.flatnonzero((prior > 1e-3) | (posterior > 1e-3)).max()) + 1
    place = np.arange(last)
    axis.bar(place, posterior[:last], width=0.8, color="C0", label="posterior")
    axis.step(place, prior[:last], where="mid", color="0.4", label="prior, at the rate learned")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(fontsize="small")
    axis.set(xlabel="columns in the model", ylabel="probability")


def _traces(fit: Regression, size: Any, scale: Any) -> None:
    drawn, name = fit.sigma_draws, "sigma"
    # A group of columns counts as one.
    first = fit.group == np.arange(len(fit.names))
    if np.ptp(drawn) == 0:
        drawn, name = fit.intercept_draws, "intercept"
    for chain in range(len(drawn)):
        size.plot(fit.included_draws[chain][:, first].sum(axis=1), linewidth=0.7)
        scale.plot(drawn[chain], linewidth=0.7)
    size.yaxis.get_major_locator().set_params(integer=True)
    size.set(ylabel="columns in the model")
    scale.set(xlabel="draw", ylabel=f"{name}\n(a line a chain)")
