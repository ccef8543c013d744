# SPDX-License-Identifier: Apache-2.0
"""Draw a compression: the ramp, the weights, the inclusion probabilities and the calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

from aeb.comparison.arms import LABELS, Fit
from aeb.evaluation.diagnostics import reliability_curve

__all__ = ["draw"]


def draw(
    path: Path,
    fits: Mapping[str, Fit],
    probs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    title: str,
    watched: str = "validation",
) -> None:
    """Draw four panels from the runs of one seed, and write them to a file.

    Args:
        path: the file. Its suffix chooses the format.
        fits: the trained networks, by arm.
        probs: f32[n, K], predictions on the test set, by arm.
        labels: i32[n], the test labels.
        title: the title above all panels.
        watched: the rows on which the histories were measured.
    """
    figure, axes = plt.subplots(2, 2, figsize=(10.5, 7.5), layout="constrained")
    colours = {arm: f"C{number}" for number, arm in enumerate(LABELS)}
    arms = [arm for arm in fits if arm != "dense"]
    shown = next((arm for arm in ("sa", "em", "learned") if arm in fits), None)

    ramp, rate = axes[0, 0], axes[0, 0].twinx()
    for arm in arms:
        epochs = np.arange(1, len(fits[arm].history) + 1)
        sparsity, correct = 100 * fits[arm].history.T
        ramp.plot(epochs, correct, color=colours[arm], label=LABELS[arm])
        rate.plot(epochs, sparsity, color=colours[arm], linestyle=":")
    ramp.set(
        xlabel="epoch", ylabel=f"{watched} accuracy, %", title="Accuracy (line) and zeros (dotted)"
    )
    rate.set(ylabel="zeros over all parameters, %", ylim=(0, 100))
    ramp.legend(loc="lower center", fontsize="small")

    weights, inclusion = axes[0, 1], axes[1, 0]
    for arm in arms:
        values = np.concatenate(
            [np.ravel(leaf) for leaf in jax.tree.leaves(fits[arm].state.position)]
        )
        kept = values[values != 0]
        weights.hist(
            kept, bins=80, density=True, histtype="step", color=colours[arm], label=LABELS[arm]
        )
    weights.set(xlabel="weight", ylabel="density", title="Weights that were kept", yscale="log")
    weights.legend(fontsize="small")

    if shown is None:
        inclusion.set_axis_off()
    else:
        for arm in arms:
            chances = fits[arm].rho
            if chances is None:
                continue
            rho = np.concatenate([np.ravel(leaf) for leaf in chances.values()])
            inclusion.hist(
                rho,
                bins=np.linspace(0, 1, 51),
                weights=np.full(rho.size, 100 / rho.size),
                histtype="step",
                color=colours[arm],
                label=LABELS[arm],
            )
        inclusion.set(
            xlabel="inclusion probability, rho",
            ylabel="weights, %",
            title="What the prior would keep",
            yscale="log",
        )
        inclusion.legend(fontsize="small")

    calibration = axes[1, 1]
    calibration.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for arm, predicted in probs.items():
        curve = reliability_curve(predicted, labels, num_bins=5)
        filled = np.asarray(curve.counts) > 0
        calibration.plot(
            np.asarray(curve.confidence)[filled],
            np.asarray(curve.accuracy)[filled],
            marker="o",
            markersize=3,
            color=colours[arm],
            label=LABELS[arm],
        )
    calibration.set(
        xlabel="confidence", ylabel="accuracy", title="Reliability", xlim=(0, 1), ylim=(0, 1.02)
    )
    calibration.legend(loc="lower right", fontsize="small")

    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)
