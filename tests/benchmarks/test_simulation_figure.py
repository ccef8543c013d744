# SPDX-License-Identifier: Apache-2.0
"""The figure of the simulation shows what is in the rows, moved and divided by nothing.

Mutations that fail here: the rows that were fitted in place of the fresh ones, as the authors'
panel of SGLD-EM; draws of an arm shifted by 2 or divided by 3, as their curves of SGLD; axes of an
arm of its own; another seed or cell than the caption says.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_up import SIMULATION, simulation_row

from benchmarks import harness, report
from benchmarks.simulation import figure as simulation_figure
from benchmarks.simulation import run as simulation
from benchmarks.simulation.table import SHOWN

ARMS = ("sa", "em", "sgld")


def picture(place):
    """Of an arm; all numbers differ between arms, and between fresh rows and those fitted."""
    rng = np.random.default_rng(place)
    return {
        "draws": rng.normal(3 * place, 0.1, size=(3, 50)).tolist(),
        "true": [3.0, 2.0, 1.0],
        "mean": [0.0] * 5,
        **{name: rng.normal(size=6).tolist() for name in ("fresh_y", "fresh_prediction")},
        **{name: rng.normal(100, 1, size=9).tolist() for name in ("train_y", "train_prediction")},
    }


def row(cell, seed=0, place=0):
    metrics = dict(SIMULATION)
    if seed == simulation.PICTURED:
        metrics["picture"] = picture(place)
    config = simulation.PRESETS["paper"].config(cell)
    return simulation_row("paper", config, seed, metrics)


@pytest.fixture
def panels():
    picture, panels = plt.subplots(2, 3)
    yield panels
    plt.close(picture)


@pytest.fixture
def rows():
    return {cell.arm: row(cell, place=place) for place, cell in enumerate(SHOWN)}


def test_predictions_are_of_fresh_rows_on_shared_axes(panels, rows):
    simulation_figure._predictions(panels[1], rows)
    for place, (arm, axes) in enumerate(zip(ARMS, panels[1], strict=True)):
        dots = axes.lines[-1]
        np.testing.assert_array_equal(dots.get_xdata(), picture(place)["fresh_y"])
        np.testing.assert_array_equal(dots.get_ydata(), picture(place)["fresh_prediction"])
        assert axes.get_xlim() == axes.get_ylim() == panels[1, 0].get_xlim()
        low, high = axes.get_xlim()
        assert low < dots.get_xydata().min() < dots.get_xydata().max() < high
        assert simulation_figure.LABELS[arm] in axes.get_title()
        assert "MAE 1.25, MSE 2.50" in axes.get_title()


def test_histograms_hold_the_draws_where_they_are(panels, rows):
    for signal, axes in enumerate(panels[0]):
        simulation_figure._posterior(axes, rows, signal)
        outlines = axes.patches[1::2]
        for place, outline in enumerate(outlines):
            draws = picture(place)["draws"][signal]
            edges, heights = outline.get_xy().T
            width = np.ptp(axes.get_xlim()) / simulation_figure.BINS
            filled = edges[heights > 0]
            # A bin wider at most than the draws on each side.
            assert filled.min() == pytest.approx(min(draws), abs=1.01 * width)
            assert filled.max() == pytest.approx(max(draws), abs=1.01 * width)
        assert axes.lines[0].get_xdata()[0] == [3.0, 2.0, 1.0][signal]
        assert axes.get_legend_handles_labels()[1] == ["SGLD-SA", "SGLD-EM", "SGLD", "truth"]


def test_the_report_draws_what_it_has_rows_for(tmp_path, capsys):
    words = ["--results", str(tmp_path), "--figures", str(tmp_path / "figures")]
    results = harness.Results(tmp_path / "simulation.jsonl")
    other = simulation.PRESETS["paper"].cells()[0]
    # Another seed and another cell draw nothing.
    results.append([row(SHOWN[0], seed=1), row(other)])
    assert report.main(words) == 0
    assert "simulation.png" not in capsys.readouterr().out
    assert not (tmp_path / "figures").exists()
    results.append([row(SHOWN[1])])
    assert report.main(words) == 0
    said = capsys.readouterr().out
    assert (
        "(figures/simulation.png)\n\nThe data set of seed 0, with v0 = 0.1 and sigma started at 1."
        in said
    )
    assert (tmp_path / "figures" / "simulation.png").stat().st_size > 10_000
    assert simulation_figure._shown(simulation.PRESETS["paper"], results).keys() == {"em"}
