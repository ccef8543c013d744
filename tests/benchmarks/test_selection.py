# SPDX-License-Identifier: Apache-2.0
"""The designs of the selection experiment, its scores and its folds."""

import numpy as np
import pytest

from benchmarks.regression.methods import Estimate
from benchmarks.selection import designs, real, rivals, scores
from benchmarks.selection.run import PRESETS


@pytest.mark.parametrize(
    ("columns", "correlation"),
    [("independent", 0.0), ("ar", 0.7), ("blocks", 0.9), ("equal", 0.5), ("factors", 0.0)],
)
def test_the_error_is_that_of_new_rows(columns, correlation):
    """Mutation: `_ar` without its factor 1 - r^2; the shared part of a block with weight r^2."""
    design = designs.Design(40_000, 40, columns, correlation)
    x, quadratic = designs._columns(design, np.random.default_rng(0))
    gap = 1.0 + np.random.default_rng(1).normal(size=40)
    squares = (x @ gap) ** 2
    error = squares.std() / len(x) ** 0.5
    assert abs(squares.mean() - quadratic(gap)) < 5 * error


@pytest.mark.parametrize("name", sorted(set(designs.DESIGNS) - {"genotypes", "wide"}))
def test_a_data_set_has_the_noise_and_the_signals_that_it_says(name):
    """Mutation: t noise not scaled to its variance; signals placed beside `signal`."""
    design = designs.DESIGNS[name]
    first, again, other = (designs.draw(name, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.y, again.y)
    assert np.any(first.y != other.y)
    assert sorted(first.beta[first.signal]) == sorted(design.signals)
    assert bool(np.any(first.beta[~first.signal] != 0)) == (design.others > 0)
    noise = np.concatenate([data.y - data.x @ data.beta for data in (first, other)])
    # A variance from 2 n numbers; that of t noise with 3 degrees of freedom has none itself.
    wide = 0.7 if design.noise == "t3" else 5 / len(noise) ** 0.5
    assert abs(noise.var() / design.noise_variance - 1) < wide
    assert first.error(0.0, first.beta) == pytest.approx(design.noise_variance)


def test_calibration_counts_columns_and_signals_by_bin():
    """Mutation: the last bin open at 1."""
    bins = scores.calibration(np.array([0.0, 0.15, 0.15, 1.0]), np.array([0, 0, 1, 1], bool))
    assert bins[0] == (1, 0.0, 0)
    assert bins[1] == (2, pytest.approx(0.3), 1)
    assert bins[9] == (1, 1.0, 1)
    assert sum(count for count, _, _ in bins) == 4


def test_the_folds_part_the_rows():
    """Mutation: a fold's rows kept among those that are fitted."""
    folds = [real.fold("diabetes, products", number) for number in range(real.FOLDS)]
    rows = np.concatenate([np.column_stack([f.test_x, f.test_y]) for f in folds])
    assert len(rows) == len(np.unique(rows, axis=0)) == 442
    assert all(len(f.y) + len(f.test_y) == 442 for f in folds)
    # Ten columns, nine squares, for one column has two values, and 45 products.
    assert folds[0].x.shape[1] == 64
    perfect = Estimate(0.0, np.zeros(64), np.zeros(64, bool), {})
    assert scores.of_fold(folds[0], perfect)["squared_error"] == pytest.approx(
        np.mean(folds[0].test_y ** 2)
    )


def test_lasso_ridge_and_elastic_net_answer_in_the_units_of_the_data():
    """Mutation: coefficients of the standardised columns; the lasso's intercept left as it was."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) * [1.0, 100.0, 0.01] + [0.0, 5.0, -1.0]
    beta = np.array([2.0, -0.02, 300.0])
    y = 7.0 + x @ beta + 0.01 * rng.normal(size=200)
    fits = (rivals.lasso(x, y, folds=5), rivals.ridge(x, y), rivals.elastic_net(x, y, folds=5))
    for estimate in fits:
        np.testing.assert_allclose(estimate.coefficients, beta, rtol=0.02)
        at_the_mean = estimate.intercept + x.mean(axis=0) @ estimate.coefficients
        assert at_the_mean == pytest.approx(y.mean())


def test_every_cell_has_its_rows_once():
    """Mutation: the horseshoe given every data set."""
    settings = PRESETS["paper"]
    units = settings.units()
    keys = [(str(unit.configs[0]), unit.seeds) for unit in units]
    assert len(keys) == len(set(keys)) == sum(cell.repeats for cell in settings.cells())
    of_horseshoe = [unit for unit in units if unit.configs[0]["method"] == "horseshoe"]
    simulated = [unit for unit in of_horseshoe if unit.configs[0]["design"]]
    assert {unit.seeds[0] for unit in simulated} == {0, 1, 2}
