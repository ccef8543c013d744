# SPDX-License-Identifier: Apache-2.0
"""Data frames of pandas and polars as matrices, and what is refused in them.

Mutations that fail here: levels in the order they occur in; a column for the base too; levels of
the new frame and not of the fit; missing values counted over the frame and not by column; the
columns of a category on their own.
"""

import datetime
import re
import sys

import numpy as np
import pytest
import scipy.sparse

import aeb
from aeb.linear import frames
from aeb.linear.design import read_design

# Ten draws are too few for chains to agree.
pytestmark = pytest.mark.filterwarnings("ignore:the 2 chains disagree")

QUICK = {"num_draws": 10, "warmup": 5, "thinning": 5, "num_chains": 2}

COLUMNS = {
    "age": [30, 41, 25, 60],
    "dose": [0.5, 1.5, 2.5, 3.5],
    "smokes": [True, False, True, True],
    "sex": ["m", "f", "f", "m"],
    "town": ["York", "Bath", "Ely", "York"],
}


@pytest.fixture(params=["pandas", "polars"])
def library(request):
    return pytest.importorskip(request.param)


def test_text_becomes_indicators(library):
    matrix, encoding = frames.read("X", library.DataFrame(COLUMNS))
    assert encoding.names == (
        *("age", "dose", "smokes", "sex[m]"),
        *("town[Ely]", "town[York]"),
    )
    assert encoding.frame_names == tuple(COLUMNS)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(
        matrix,
        [
            [30, 0.5, 1, 1, 0, 1],
            [41, 1.5, 0, 0, 0, 0],
            [25, 2.5, 1, 0, 1, 0],
            [60, 3.5, 1, 1, 0, 1],
        ],
    )
    # New rows are read by the levels of the fit, of which they may have a few only.
    few = library.DataFrame({name: values[1:2] for name, values in COLUMNS.items()})
    np.testing.assert_array_equal(frames.encode("x", few, encoding), matrix[1:2])


def test_levels_keep_the_order_of_an_ordered_category():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    values, order = ["high", "low", "mid", "low"], ["low", "mid", "high", "never"]
    for frame in (
        pandas.DataFrame({"dose": pandas.Categorical(values, order, ordered=True)}),
        polars.DataFrame({"dose": polars.Series(values, dtype=polars.Enum(order))}),
    ):
        assert frames.read("X", frame)[1].names == ("dose[mid]", "dose[high]")
    for frame in (
        pandas.DataFrame({"dose": pandas.Categorical(values)}),
        polars.DataFrame({"dose": polars.Series(values, dtype=polars.Categorical)}),
    ):
        assert frames.read("X", frame)[1].names == ("dose[low]", "dose[mid]")


def test_numbers_of_any_type_are_numbers():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for column in (
        pandas.array([1, 2, 3], "Int64"),
        np.array([1.0, 2, 3], object),
        pandas.array([1, 2, 3], "Sparse[int]"),
        np.array([1, 2, 3], np.uint8),
    ):
        matrix, encoding = frames.read("X", pandas.DataFrame({"a": column}))
        assert encoding.names == ("a",)
        np.testing.assert_array_equal(matrix, [[1], [2], [3]])
    decimal = polars.DataFrame({"a": polars.Series([1, 2, 3]).cast(polars.Decimal(10, 2))})
    np.testing.assert_array_equal(frames.read("X", decimal)[0], [[1], [2], [3]])


def test_missing_values_are_counted_by_column(library):
    holes = dict(COLUMNS, dose=[None, 1.5, None, 3.5], town=["York", None, "Ely", "Bath"])
    says = (
        r"^X: 3 of its values are missing; missing by column: 'dose' \(2\), 'town' \(1\); "
        r"drop the 3 of 4 rows that have some, or those columns, or fill"
    )
    with pytest.raises(ValueError, match=says):
        frames.read("X", library.DataFrame(holes))
    empty = dict(holes, dose=[float("nan")] * 4)
    says = r"'dose' \(4\), 'town' \(1\); first drop the columns that have no value at all \(1\)$"
    with pytest.raises(ValueError, match=says):
        frames.read("X", library.DataFrame(empty))
    nans = library.DataFrame(dict(COLUMNS, dose=[float("nan"), 1.5, 2.5, 3.5]))
    with pytest.raises(ValueError, match=r"'dose' \(1\); drop the 1 of 4 rows"):
        frames.read("X", nans)
    many = {f"c{j}": [None, 1.0, 2.0, 3.0] for j in range(8)}
    with pytest.raises(ValueError, match=r"'c4' \(1\) and 3 more columns; drop the 1 of 4"):
        frames.read("X", library.DataFrame(many))
    infinite = library.DataFrame(dict(COLUMNS, dose=[float("inf"), 1.5, 2.5, 3.5]))
    with pytest.raises(ValueError, match="1 numbers of column 'dose' are not finite"):
        frames.read("X", infinite)


def test_what_is_neither_number_nor_text_is_refused(library):
    days = [datetime.date(2020, 1, day) for day in (1, 2, 3, 4)]
    for odd in (days, [datetime.datetime(2020, 1, 1)] * 4, [[1], [2], [3], [4]]):
        frame = library.DataFrame({"a": [1, 2, 3, 4], "odd": odd})
        with pytest.raises(TypeError, match=r"^X: column 'odd' is of type .*turn a date into days"):
            frames.read("X", frame)
    names = library.DataFrame({"name": [f"person {j}" for j in range(30)]})
    with pytest.raises(ValueError, match="'name' has 30 different texts in 30 rows; drop it"):
        frames.read("X", names)


@pytest.mark.parametrize("values", [["1.5", "2", "3", "4"], [1j, 2.0, 3.0, 4.0], "dates", "spans"])
def test_numbers_of_new_rows_are_numbers(values):
    """Mutation: whatever can be converted: a date is 1e18 nanoseconds."""
    pandas = pytest.importorskip("pandas")
    _, encoding = frames.read("X", pandas.DataFrame(COLUMNS))
    kinds = {
        "dates": pandas.date_range("2020-01-01", periods=4),
        "spans": pandas.to_timedelta([1, 2, 3, 4], unit="D"),
    }
    values = kinds[values] if isinstance(values, str) else values
    with pytest.raises(TypeError, match=r"^x: column 'age' held numbers in the fit, and holds oth"):
        frames.encode("x", pandas.DataFrame(COLUMNS).assign(age=values), encoding)


def test_a_series_is_read_by_the_names_in_its_index():
    """Mutation: by position."""
    pandas = pytest.importorskip("pandas")
    names = ["a", "b", "c"]
    turned = ["c", "a", "b"]
    odds = read_design(names, None, inclusion_odds=pandas.Series([5.0, 1.0, 1.0], turned)).log_odds
    np.testing.assert_allclose(odds, np.log([1.0, 1.0, 5.0]))
    groups = read_design(names, None, groups=pandas.Series([1, 2, 1], turned)).group
    assert groups.tolist() == [0, 1, 1]
    always = read_design(names, None, always=pandas.Series([True, False, False], turned)).always
    assert always.tolist() == [2]
    # No index of names: as any list.
    assert read_design(names, None, always=pandas.Series(["b"])).always.tolist() == [1]
    assert read_design(names, None, groups=pandas.Series([1, 2, 1])).group.tolist() == [0, 1, 0]


def test_truth_values_and_places_are_told_apart():
    with pytest.raises(ValueError, match=r"^always: got array.*may be truth values or the indices"):
        read_design(["a", "b", "c"], None, always=np.array([0, 0, 1]))
    assert read_design(["a", "b", "c"], None, always=[0, 1]).always.tolist() == [0, 1]


def test_new_rows_have_to_be_of_the_fit(library):
    _, encoding = frames.read("X", library.DataFrame(COLUMNS))
    with pytest.raises(
        ValueError, match=r"^x: column 'sex' has 'x', and the fit had only 'f', 'm'"
    ):
        frames.encode("x", library.DataFrame(dict(COLUMNS, sex=["m", "x", "f", "m"])), encoding)
    with pytest.raises(TypeError, match=r"^x: column 'age' held numbers in the fit"):
        frames.encode("x", library.DataFrame(dict(COLUMNS, age=list("abcd"))), encoding)


def test_columns_of_one_name_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    with pytest.raises(ValueError, match=r"^X: two of its columns share a name"):
        frames.is_frame(frame) and frames.read("X", frame)


def table(rows=40):
    rng = np.random.default_rng(0)
    return {
        "z": rng.normal(size=rows),
        "group": rng.choice(["a", "b", "c"], rows),
        "flag": rng.random(rows) < 0.5,
        "w": rng.normal(size=rows),
    }


def test_a_fit_of_a_frame(library):
    columns = table()
    rng = np.random.default_rng(1)
    y = 2.0 * columns["z"] + 3.0 * (columns["group"] == "b") + rng.normal(size=40)
    frame = library.DataFrame(columns)
    fit = aeb.regression(frame, y, **QUICK)
    assert fit.names == ("z", "group[b]", "group[c]", "flag", "w")
    assert fit.group.tolist() == [0, 1, 1, 3, 4]
    assert fit.inclusion[1] == fit.inclusion[2]
    matrix = frames.read("X", frame)[0]
    by_hand = aeb.regression(matrix, y, groups=["z", 1, 1, "flag", None], **QUICK)
    np.testing.assert_array_equal(fit.draws, by_hand.draws)
    np.testing.assert_array_equal(fit.predict(frame), by_hand.predict(matrix))
    np.testing.assert_array_equal(fit.predict(matrix), by_hand.predict(matrix))


@pytest.mark.parametrize("more", [[], ["target"]])
def test_what_a_message_says_of_columns_works(library, more):
    """Mutation: `fit.names`, which has levels, where the frame's own columns are meant."""
    columns = table()
    y = 2.0 * columns["z"]
    fit = aeb.regression(library.DataFrame(columns), y + columns["w"] / 9, **QUICK)
    order = [*more, "w", "z", "flag", "group"]
    x = library.DataFrame({name: columns.get(name, y) for name in order})
    with pytest.raises(ValueError, match=r"another order|it has .target.") as caught:
        fit.predict(x)
    advice = re.search(r"; pass (x\[list\(fit\.encoding\.frame_names\)\])$", str(caught.value))
    assert advice
    np.testing.assert_array_equal(
        fit.predict(eval(advice[1])), fit.predict(library.DataFrame(columns))
    )
    with pytest.raises(ValueError, match=r"lacks 'w'; the fit had those of fit\.encoding\.frame_n"):
        fit.predict(library.DataFrame({name: columns[name] for name in ["z", "flag", "group"]}))


def test_the_name_of_a_column_is_no_target():
    """Mutation: a text read as an array of one number."""
    frame = table()
    with pytest.raises(
        TypeError, match=r"^y: got the text 'w', .* X\['w'\], and leave it out of X"
    ):
        aeb.regression(np.c_[frame["z"], frame["w"]], "w")


def test_other_forms_than_a_frame_are_told_apart(library):
    """Mutation: a row of a frame, or its matrix, read as an array of text."""
    columns = table()
    frame = library.DataFrame(columns)
    fit = aeb.regression(frame, 2.0 * columns["z"] + columns["w"], **QUICK)
    with pytest.raises(ValueError, match=r"^x: got ndarray of shape .*'group' held text .* frame"):
        fit.predict(frame.to_numpy())
    with pytest.raises(TypeError, match=r"^x: got a mapping, .* pandas\.DataFrame\(x\)"):
        fit.predict(columns)
    with pytest.raises(ValueError, match=r"^X: got shape \(40,\), .* one column \[rows, 1\]"):
        aeb.regression(frame["z"], columns["w"])


def test_one_row_and_a_lazy_frame():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = table()
    frame = pandas.DataFrame(columns)
    fit = aeb.regression(frame, 2.0 * columns["z"] + columns["w"], **QUICK)
    with pytest.raises(ValueError, match=r"^x: got Series of shape \(4,\).*frame\.iloc\[\[0\]\]"):
        fit.predict(frame.iloc[0])
    assert fit.predict(frame.iloc[[0]]).shape == (1,)
    lazy = polars.LazyFrame(columns)
    with pytest.raises(TypeError, match=r"^x: got a lazy frame, .* pass x\.collect\(\)"):
        fit.predict(lazy)
    pytest.importorskip("sklearn")
    model = aeb.SparseRegressor(**QUICK).fit(frame, 2.0 * columns["z"] + columns["w"])
    for call in (
        lambda: aeb.regression(lazy, columns["w"]),
        lambda: aeb.SparseRegressor().fit(lazy, columns["w"]),
        lambda: model.predict(lazy),
    ):
        with pytest.raises(TypeError, match=r"^X: got a lazy frame, .* pass X\.collect\(\)"):
            call()


def test_all_that_is_wrong_with_a_frame_is_said_at_once(library):
    """Mutation: only the first of them."""
    more = {
        "day": [datetime.date(2020, 1, 1)] * 40,
        "id": [f"row {i}" for i in range(40)],
        "gap": [None, *range(39)],
    }
    with pytest.raises(ValueError, match="3 things are wrong") as caught:
        aeb.regression(library.DataFrame(table() | more), np.arange(40.0))
    for part in ("'gap' (1)", "'day' is of type", "'id' has 40 different texts in 40 rows"):
        assert part in str(caught.value)
    many = {f"t{j}": more["day"] for j in range(12)}
    with pytest.raises(ValueError, match=r"(?s)12 things .*\n- and 2 more columns"):
        aeb.regression(library.DataFrame(many), np.arange(40.0))


def test_odds_by_name(library):
    """Mutations: odds of a level for its column's; the columns not named without any."""
    frame = library.DataFrame({"sex": ["m", "f"] * 20} | table())
    _, encoding = frames.read("X", frame)
    for entry in ("group", "group[c]", 2):
        odds = {"flag": 5.0, entry: 3.0}
        design = read_design(encoding.names, encoding, inclusion_odds=odds)
        np.testing.assert_allclose(np.exp(design.log_odds), [1, 1, 3, 3, 5, 1])
    with pytest.raises(ValueError, match="inclusion_odds: got 'flog', needs names of columns"):
        read_design(encoding.names, encoding, inclusion_odds={"flog": 2.0})


def test_a_category_is_named_as_a_whole(library):
    """Mutations: places in the matrix for places in the frame; odds of a level for the others'."""
    frame = library.DataFrame({"sex": ["m", "f"] * 20} | table())
    _, encoding = frames.read("X", frame)
    odds = [1.0, 2.0, 3.0, 1.0, 1.0]
    for whole in ("group", "group[c]", 2):
        design = read_design(
            encoding.names, encoding, always=[whole], requires={"w": whole}, inclusion_odds=odds
        )
        assert design.always.tolist() == [2, 3]
        assert design.parents == {5: (2,)}
        np.testing.assert_allclose(np.exp(design.log_odds), [1, 2, 3, 3, 1, 1])
    both = read_design(encoding.names, encoding, groups=[0, 1, 0, 2, 3])
    assert both.group.tolist() == [0, 1, 0, 0, 4, 5]
    with pytest.raises(ValueError, match="for each of the 5 columns of the data frame"):
        aeb.regression(frame, np.arange(40.0), groups=[0] * 6)


def test_a_sparse_matrix_is_the_same_as_a_dense_one():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(40, 6)) * (rng.random((40, 6)) < 0.3)
    y = dense[:, 0] + rng.normal(size=40)
    fit = aeb.regression(dense, y, **QUICK)
    for form in (scipy.sparse.csr_array, scipy.sparse.coo_matrix):
        own = aeb.regression(form(dense), y, **QUICK)
        np.testing.assert_array_equal(own.draws, fit.draws)
        np.testing.assert_array_equal(own.predict(form(dense)), fit.predict(dense))


def test_a_sparse_matrix_too_large_to_be_dense_is_refused():
    """Mutation: no limit, so that numpy asks for 8 TB."""
    wide = scipy.sparse.csr_array((1000, 10**9))
    with pytest.raises(ValueError, match=r"X: got a sparse matrix of shape .* at most 500,000,000"):
        aeb.regression(wide, np.arange(1000.0))


def test_without_narwhals_a_frame_is_read_as_an_array(monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.setitem(sys.modules, "narwhals.stable.v2", None)
    numbers = pandas.DataFrame({"a": [1.0, 2, 4, 3], "b": [0.0, 1, 1, 5]})
    assert not frames.is_frame(numbers)
    with pytest.raises(TypeError, match=r"not numbers, the first in column 3 \('sex'\)"):
        aeb.regression(pandas.DataFrame(COLUMNS), [1.0, 2.0, 3.0, 4.0])


def test_missing_values_of_new_rows_are_not_told_to_drop_columns(library):
    """Mutation: the advice of the fit."""
    _, encoding = frames.read("X", library.DataFrame(COLUMNS))
    says = r"'dose' \(1\); leave out the 1 of 4 rows that have some, or fill them in as those"
    with pytest.raises(ValueError, match=says):
        frames.encode("x", library.DataFrame(dict(COLUMNS, dose=[None, 1.0, 2.0, 3.0])), encoding)
    fit = aeb.regression(
        np.eye(12)[:, :3] + np.arange(12.0)[:, None], np.arange(12.0) ** 2, **QUICK
    )
    with pytest.raises(ValueError, match="leave out the 1 of 2 rows"):
        fit.predict([[1.0, np.nan, 0.0], [1.0, 1.0, 1.0]])


def test_a_column_of_several_types_is_no_date():
    """Mutation: the advice on dates."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"odd": [1, "two", 3.5]})
    says = r"column 'odd' holds values of several types \(float, int, str\), needs"
    with pytest.raises(TypeError, match=says):
        frames.read("X", frame)


def test_all_infinite_columns_are_told_at_once(library):
    """Mutation: only the first of them."""
    frame = library.DataFrame(table() | {"u": [np.inf] * 40, "v": [-np.inf] + [1.0] * 39})
    with pytest.raises(ValueError, match=r"(?s)2 things .* 40 numbers of column 'u' .* column 'v'"):
        frames.read("X", frame)


def test_text_that_spells_numbers_and_numbers_of_rows_are_warned_of(library):
    """Mutations: text of which some is no number; numbers of rows under any name, such as years."""
    more = {"dose": ["3.5", "1e2", "-4", ".5"] * 10, "id": list(range(1, 41))}
    with pytest.warns(UserWarning, match="X: ") as said:
        frames.read("X", library.DataFrame(table() | more))
    told = [str(own.message) for own in said]
    assert [text.split()[1] for text in told] == ["'dose'", "'id'"]
    assert {own.filename for own in said} == {__file__}
    fine = {"dose": ["3.5", "high", "low", "no"] * 10, "day": list(range(40))}
    frames.read("X", library.DataFrame(table() | fine | {"id": list(range(40))[::-1]}))


def test_labels_that_are_whole_numbers():
    """Mutations: a label read as a place; a place that is another's label taken without a word."""
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(9, 3))
    years = frames.read("X", pandas.DataFrame(x, columns=[1990, 2000, 2010]))[1]
    assert read_design(years.names, years, always=[2000, 2]).always.tolist() == [1, 2]
    turned = frames.read("X", pandas.DataFrame(x, columns=[2, 1, 0]))[1]
    assert read_design(turned.names, turned, always=[1, "0"]).always.tolist() == [1, 2]
    says = "always: got 2, which is the label of one column and the place of another, '0'; pass"
    with pytest.raises(ValueError, match=says):
        read_design(turned.names, turned, always=[2])


def test_groups_and_odds_by_name(library):
    """Mutations: odds of one member alone; a later member's odds for all; a group's columns on
    their own."""
    _, encoding = frames.read("X", library.DataFrame(table()))
    groups = {"both": ["w", "group"]}
    for odds in ({"w": 3.0}, {"group": 3.0}, {"group[c]": 3.0, "w": 3.0}):
        design = read_design(encoding.names, encoding, groups=groups, inclusion_odds=odds)
        assert design.group.tolist() == [0, 1, 1, 3, 1]
        np.testing.assert_allclose(np.exp(design.log_odds), [1, 3, 3, 1, 3])
    with pytest.raises(ValueError, match=r"got 3 for 'w' and 2 for 'group.b.' of"):
        read_design(
            encoding.names, encoding, groups=groups, inclusion_odds={"group": 2.0, "w": 3.0}
        )
    with pytest.raises(ValueError, match="groups: got a column that is in 'a' and in 'b'"):
        read_design(encoding.names, encoding, groups={"a": ["w"], "b": ["z", 3]})
    with pytest.raises(ValueError, match="groups: got 'no', needs names of columns"):
        read_design(encoding.names, encoding, groups={"a": ["no"]})
