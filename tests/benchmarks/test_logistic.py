# SPDX-License-Identifier: Apache-2.0
"""The designs of the logistic experiment, its folds and its scores."""

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.logistic import data, table
from benchmarks.logistic.rivals import METHODS, Fitted
from benchmarks.logistic.run import PRESETS, main, score


@pytest.mark.parametrize("name", sorted(data.DESIGNS))
def test_classes_come_with_the_probabilities_that_are_told(name):
    """Mutation: probabilities of the rows to fit told for those to predict; the sign of beta."""
    rows, again = data.draw(name, 0), data.draw(name, 0)
    np.testing.assert_array_equal(rows.test_y, again.test_y)
    assert rows.x.shape == (200, 200)
    assert rows.test_x.shape == (data.FRESH, 200)
    assert rows.signal.sum() == len(data.DESIGNS[name].signals)
    # Independent given their probabilities: five standard errors of the sum, by thirds.
    for part in np.array_split(np.argsort(rows.probability), 3):
        chance = rows.probability[part]
        gap = rows.test_y[part].sum() - chance.sum()
        assert abs(gap) < 5 * np.sum(chance * (1 - chance)) ** 0.5


@pytest.mark.parametrize("name", data.TASKS)
def test_folds_part_the_rows_and_share_the_classes(name):
    """Mutation: folds drawn anew for each number; folds in the order of the rows."""
    folds = [data.fold(name, number) for number in range(data.FOLDS)]
    total = len(folds[0].y) + len(folds[0].test_y)
    assert sum(len(fold.test_y) for fold in folds) == total
    shares = [fold.test_y.mean() for fold in folds]
    assert max(shares) - min(shares) < 0.06
    first, second = (fold.test_x[:, :20] for fold in folds[:2])
    assert not np.any(np.all(first[:, None] == second[None], axis=2))


def test_scores_of_probabilities():
    """Mutation: the log of the other class; no cut; the ranks turned."""
    signal = np.array([True, False])
    rows = data.Rows(*4 * [np.zeros(0)], signal=signal)
    rows = rows._replace(test_y=np.array([1.0, 1.0, 0.0, 1.0]))
    both = np.array([True, True])
    found = score(rows, Fitted(np.array([0.8, 0.7, 0.4, 0.0]), both, {}))
    want = -(np.log(0.8) + np.log(0.7) + np.log(0.6) + np.log(1e-6)) / 4
    assert found["log_loss"] == pytest.approx(want)
    assert found["auroc"] == pytest.approx(2 / 3)
    assert found["cut"] == 1 / 4
    assert (found["true_finds"], found["false_finds"]) == (1, 1)
    with pytest.raises(ValueError, match="outside"):
        score(rows, Fitted(np.array([0.8, 0.7, 1.4, 0.0]), both, {}))


def test_ridge_predicts_in_the_units_of_the_data():
    """Mutation: rows to predict not standardised."""
    pytest.importorskip("sklearn")
    rows = data.draw("few", 0)
    moved = rows._replace(x=3.0 + 10.0 * rows.x, test_x=3.0 + 10.0 * rows.test_x)
    fits = [METHODS["ridge"].fit(part) for part in (rows, moved)]
    np.testing.assert_allclose(fits[0].probability, fits[1].probability, atol=1e-4)
    truth = score(rows, METHODS["truth"].fit(rows))["log_loss"]
    assert truth < score(rows, fits[0])["log_loss"] < np.log(2)


def test_every_cell_has_its_rows_once():
    """Mutation: real data given to the truth."""
    settings = PRESETS["paper"]
    units = settings.units()
    keys = {(str(unit.configs[0]), unit.seeds) for unit in units}
    assert len(keys) == len(units) == sum(cell.repeats for cell in settings.cells())
    assert not [cell for cell in settings.cells() if cell[:2] == ("truth", "3 or 8")]


def test_a_run_makes_its_rows_once_and_the_table_has_them(tmp_path, capsys):
    """Mutation: the table told other seeds than the units."""
    pytest.importorskip("sklearn")
    words = ["--methods", "truth", "--no-progress", "--results", str(tmp_path)]
    words += ["--work", str(tmp_path / "work")]
    assert main(words) == 0
    assert main(words) == 0
    assert "2 of 2 rows are there" in capsys.readouterr().out
    results = harness.Results(tmp_path / "logistic.jsonl")
    assert len(results.read()) == 2
    text = table.report("smoke", results)
    assert "| null | 0.693 (1) |" in text
    assert "| few | 0." in text
