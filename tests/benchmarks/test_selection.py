# SPDX-License-Identifier: Apache-2.0
"""The designs of the selection experiment, its scores and its folds."""

import numpy as np
import pandas
import pytest

from benchmarks import harness
from benchmarks.harness import standings
from benchmarks.harness.comparison import MODULES
from benchmarks.harness.methods import Estimate
from benchmarks.selection import designs, effects, figure, real, rivals, scores, table
from benchmarks.selection.run import PRESETS, main


@pytest.mark.parametrize(
    ("columns", "correlation"),
    [("independent", 0.0), ("ar", 0.7), ("blocks", 0.9), ("equal", 0.5), ("factors", 0.0)],
)
def test_the_error_is_that_of_new_rows(columns, correlation):
    """Mutation: `_ar` without its factor 1 - r^2; the shared part of a block with weight r^2."""
    design = designs.Design(40_000, 40, columns, correlation)
    x, quadratic = designs.columns(design, np.random.default_rng(0))
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


def test_columns_of_a_data_frame_become_numbers(monkeypatch):
    """Mutations: the logarithm of an indicator; y left among the columns; rows with missing values
    kept; text made numbers by its place in the frame."""
    crime = pandas.DataFrame({"M": [1.0, 100.0], "So": [1, 0], "y": [10.0, 1000.0]})
    monkeypatch.setattr(real, "_of_r", lambda package, name: crime.copy())
    x, y = real.TASKS["crime"].read()
    np.testing.assert_allclose(x, [[0.0, 1.0], [np.log(100.0), 0.0]])
    np.testing.assert_allclose(y, np.log([10.0, 1000.0]))
    players = pandas.DataFrame(
        {
            "Hits": [3, 1, 5, 7],
            "League": ["N", "A", "A", "N"],
            "Salary": [np.e, 1.0, np.nan, np.e**2],
        }
    )
    monkeypatch.setattr(real, "_of_islp", lambda name: players.copy())
    x, y = real.TASKS["Hitters, products"].read()
    np.testing.assert_allclose(y, [1.0, 0.0, 2.0], atol=1e-12)
    hits, league = np.array([3.0, 1.0, 7.0]), np.array([1.0, 0.0, 1.0])
    hits, league = ((c - c.mean()) / c.std() for c in (hits, league))
    np.testing.assert_allclose(x, np.column_stack([hits, league, hits**2, hits * league]))


@pytest.mark.parametrize("name", ["crime", "permeability", "Hitters, products", "College"])
def test_real_data_have_the_columns_that_are_said(name):
    task = real.TASKS[name]
    for package in task.packages:
        pytest.importorskip(MODULES.get(package, package), reason="peers are no dependency")
    x, y = task.read()
    assert x.shape == (len(y), task.num_columns)
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()


def test_a_package_of_data_that_is_missing_is_named(tmp_path, monkeypatch, complaint):
    """Mutation: none looked for. The reading would fail after the tasks before it."""
    monkeypatch.setitem(
        real.TASKS, "crime", real.TASKS["crime"]._replace(packages=("no-such-package",))
    )
    assert main(["--preset", "smoke", "--tasks", "crime", "--results", str(tmp_path)]) == 2
    assert "tasks: crime needs no-such-package; pip install --no-deps" in complaint()


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


def _rows(errors, **metrics):
    """Make rows of a method on the data sets 0, 1, ..., None where one was not run."""
    return [
        {"seed": seed, "metrics": {"error": error, **metrics}}
        for seed, error in enumerate(errors)
        if error is not None
    ]


ROWS = {
    ("near", "aeb"): _rows([1.0, 1.2, 1.1, 1.3]),
    ("near", "lasso"): _rows([1.5, 1.8, 1.6, 1.9]),
    ("near", "ridge"): _rows([0.9, 1.1, 1.0, 1.1]),
    ("near", "mcp"): _rows([None, 1.4, 1.1, 1.1]),
}


def test_a_difference_is_of_the_data_sets_that_both_have():
    """Mutation: the means of all data sets of each; the sign turned; one error made two."""
    read = standings.markdown.metric("error")
    assert standings.gaps(ROWS, "near", "mcp", read) == pytest.approx([-0.2, 0.0, 0.2])
    text = standings.differences("error", ROWS, ["near"], ["lasso", "ridge", "mcp", "aeb"], read)
    line = text.splitlines()[-1]
    assert "| near | -0.550 ± 0.029 (4) | 0.125 ± 0.025 (4) | 0.000 ± 0.115 (3) |" in line
    assert line.endswith("| behind ridge; level with mcp |")
    ahead = {name: rows for name, rows in ROWS.items() if name[1] in ("aeb", "lasso")}
    assert standings.differences("error", ahead, ["near"], ["lasso"], read).endswith("| first |")


def test_the_figure_sets_each_method_beside_the_best_on_their_data_sets():
    """Mutation: the best by its mean over fewer data sets; the ratio to a mean over all."""
    ratios = figure.relative(ROWS | {("near", "susie"): _rows([0.5])}, "near")
    assert ratios["ridge"] == (1.0, 0.0)
    assert ratios["aeb"][0] == pytest.approx(4.6 / 4.1)
    assert ratios["mcp"][0] == pytest.approx(3.6 / 3.2)
    assert ratios["susie"][0] == pytest.approx(0.5 / 0.9)


def test_sets_are_scored_by_the_effects_in_them():
    """Mutation: power as the share of sets; an effect in two sets counted twice."""
    drawn = effects.Effects(np.zeros((2, 9)), np.zeros(2), np.array([2, 5, 7]), 0.1)
    found = [np.array([1, 2]), np.array([2, 3]), np.array([8])]
    score = effects.score(drawn, {"stated": found, "conditional": found[:1]})
    assert score["holds_an_effect"] == [True, True, False]
    assert (score["effects_in_sets"], score["effects"]) == (1, 3)
    assert score["conditional"] == {"sizes": [2], "holds_an_effect": [True], "effects_in_sets": 1}
    assert effects.score(drawn, {"stated": []})["effects_in_sets"] == 0


def test_the_table_of_sets_has_both_kinds_of_ours():
    """Mutation: the draws that .5 was chosen on among those that judge it; of a row from
    before conditional sets were scored, those that are stated taken for them."""
    drawn = effects.Effects(np.zeros((2, 9)), np.zeros(2), np.array([2, 5, 7]), 0.1)
    found = [np.array([1, 2]), np.array([2, 3]), np.array([8])]

    def row(seed, **sets):
        return {"seed": seed, "metrics": effects.score(drawn, sets) | {"cpu_seconds": 1.0}}

    rows = {
        ("credible sets", "aeb"): [
            row(4, stated=found),
            row(5, stated=[], conditional=found),
            row(60, stated=found, conditional=[np.array([2, 5])]),
            row(61, stated=[], conditional=[np.array([7])]),
        ],
        ("credible sets", "susie"): [row(seed, stated=[]) for seed in (4, 5, 60, 61)],
    }
    text = table._sets(rows)
    assert "| all | aeb | 4 | 6 | 0.667 ± 0.192 | 0.167 ± 0.108 | 2 | 1.0 |" in text
    assert (
        "| all | aeb, existence = 0.5 | 3 | 5 | 0.800 ± 0.179 | 0.444 ± 0.166 | 2 | 1.0 |" in text
    )
    assert "| all | susie | 4 | 0 | - | 0.000 ± 0.000 | - | 1.0 |" in text
    later = "| 60 and later | aeb, existence = 0.5 | 2 | 2 | 1.000 ± 0.000 | 0.500 ± 0.204 |"
    assert later in text
    assert "aeb, existence = 0.5: 0.500 ± 0.167 (the later ones, 2)" in text


def test_effects_explain_the_share_that_they_say(monkeypatch):
    """Mutation: the share taken for the ratio of signal to noise; a count less by one."""
    x = np.random.default_rng(0).normal(size=(4000, 30))
    monkeypatch.setattr(effects, "genotypes", lambda: x)
    drawn = [effects.draw(number) for number in range(40)]
    assert [len(one.columns) for one in drawn[:6]] == [1, 2, 3, 4, 5, 1]
    assert [one.share for one in drawn[::5]] == 2 * [0.05, 0.1, 0.2, 0.4]
    for one in drawn[:20]:
        chosen = np.column_stack([x[:, one.columns], np.ones(len(x))])
        residual = one.y - chosen @ np.linalg.lstsq(chosen, one.y)[0]
        assert 1.0 - residual.var() / one.y.var() == pytest.approx(one.share, abs=0.06)
    assert np.any(drawn[0].y != drawn[20].y)


def test_keys_agree_as_far_as_their_columns_do():
    """Mutation: a column that one key leaves out passed over."""
    keys = [
        {"metrics": {"inclusion": {"3": 0.9, "8": 0.3}, "largest_r_hat": 1.01}},
        {"metrics": {"inclusion": {"3": 0.92}, "largest_r_hat": 1.2}},
    ]
    text = table._keys(keys)
    assert "differ by at most 0.300" in text
    assert "by more than 0.05 in 1 of" in text
    assert "is 1.200" in text


def test_a_run_makes_its_rows_once_and_the_table_has_them(tmp_path, capsys):
    """Mutation: the table told other seeds than the units; a note where there is no row."""
    pytest.importorskip("sklearn")
    words = ["--methods", "ridge", "--designs", "small", "--no-progress"]
    words += ["--results", str(tmp_path), "--work", str(tmp_path / "work")]
    assert main(words) == 0
    assert main(words) == 0
    assert "1 of 1 rows are there" in capsys.readouterr().out
    results = harness.Results(tmp_path / "selection.jsonl")
    text = table.report("smoke", results)
    assert "| small | 1." in text
    assert "not run" not in text
    assert "not run" in table.report("cpu", harness.Results(tmp_path / "none.jsonl"))
    assert figure.figure("smoke", results, tmp_path) == []
