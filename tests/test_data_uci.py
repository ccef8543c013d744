# SPDX-License-Identifier: Apache-2.0
"""The UCI tables: which columns are what, and a plain word on every kind of damage."""

import os

import numpy as np
import pytest

from aeb.data import DataError, Table, load_uci, train_test_split


@pytest.fixture
def write(tmp_path):
    def write_csv(name, content):
        path = tmp_path / "uci" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return write_csv


def test_target_is_the_last_column(write):
    """Fails if the target is another column, names keep their blanks, or values lose digits."""
    folder = write("concrete", 'Cement (kg),"Age, days ",Strength \n540.0,28,61.887365759999994\n')
    table = load_uci("concrete", data_dir=folder)
    assert table.names == ("Cement (kg)", "Age, days")
    assert table.features.dtype == table.target.dtype == np.float64
    assert table.features.tolist() == [[540.0, 28.0]]
    assert table.target.tolist() == [61.887365759999994]


def test_energy_hides_its_other_target(write):
    """Fails if the heating load Y1 is left among the features."""
    folder = write("energy", "X1,X2,Y1,Y2\n1,2,3,4\n5,6,7,8\n")
    table = load_uci("energy", data_dir=folder)
    assert table.names == ("X1", "X2")
    assert table.features.tolist() == [[1, 2], [5, 6]]
    assert table.target.tolist() == [4, 8]
    with pytest.raises(DataError, match="no column 'Y1'"):
        load_uci("energy", data_dir=write("energy", "X1,X2,Y2\n1,2,3\n"))


def test_the_folder_comes_from_argument_then_variable(write, tmp_path, monkeypatch):
    """Fails if AEB_DATA_DIR is not read, wins over the argument, or its lack is not said."""
    folder = write("wine_red", "a,quality\n1,5\n")
    monkeypatch.setenv("AEB_DATA_DIR", str(folder))
    assert load_uci("wine").target.tolist() == load_uci("wine_red").target.tolist() == [5]
    with pytest.raises(DataError, match=r"elsewhere.*wine_red\.csv: no such file.*AEB_DATA_DIR"):
        load_uci("wine", data_dir=tmp_path / "elsewhere")
    monkeypatch.delenv("AEB_DATA_DIR")
    with pytest.raises(DataError, match=r"set AEB_DATA_DIR, or data_dir,.*uci/wine_red\.csv"):
        load_uci("wine_red")


def test_unknown_name():
    """Fails if the name is pasted into a path unchecked."""
    with pytest.raises(ValueError, match="boston, concrete, energy, power, wine_red, yacht"):
        load_uci("../boston")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "needs a header line and at least one row"),
        ("a,b\n", "needs a header line and at least one row"),
        ("a\n1\n", "at least one feature and the target"),
        ("a,b\n1,2\n3\n", "row 2 has 1 cells, the header has 2"),
        ("a,b\n1,2,3\n", "row 1 has 3 cells, the header has 2"),
        ("a,b\n1,2\n3,four\n", "row 2, column 'b': 'four' is not a number"),
        ("a,b\n1,2\n,4\n", "row 2, column 'a': '' is not a number"),
        ("a,b\n1,nan\n", "row 1, column 'b': 'nan' is not finite"),
        ("a,b\n-inf,1\n", "row 1, column 'a': '-inf' is not finite"),
        (b"a,b\n1,\xff\n", "not a CSV file"),
        ('a,b\n1,"2\n', "not a CSV file"),
    ],
)
def test_damage_is_named(write, content, message):
    """Fails if any one of the checks is dropped."""
    with pytest.raises(DataError, match=message) as caught:
        load_uci("yacht", data_dir=write("yacht", content))
    assert "yacht.csv" in str(caught.value)


@pytest.mark.parametrize(("rows", "fraction"), [(506, 0.1), (10, 0.25), (308, 0.1)])
def test_split_is_scikit_learns(rows, fraction):
    """Fails if the generator, the rounding, or the order of the two parts changes."""
    from sklearn import model_selection

    features, target = np.arange(2.0 * rows).reshape(rows, 2), np.arange(1.0 * rows)
    expected = model_selection.train_test_split(
        features, target, test_size=fraction, random_state=555
    )
    table = Table(features, target, ("a", "b"))
    train, test = train_test_split(table, seed=555, test_fraction=fraction)
    found = (train.features, test.features, train.target, test.target)
    assert all(np.array_equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_split_refuses_an_empty_part(fraction):
    """Fails if an empty split is handed out."""
    table = Table(np.ones((5, 1)), np.ones(5), ("a",))
    with pytest.raises(ValueError, match="test_fraction"):
        train_test_split(table, seed=0, test_fraction=fraction)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("boston", 506, 13),
        ("concrete", 1030, 8),
        ("energy", 768, 8),
        ("power", 9568, 4),
        ("wine_red", 1599, 11),
        ("yacht", 308, 6),
    ],
)
def test_real_tables(name, rows, columns):
    """Fails if a column is lost or added: the sizes are those that UCI states."""
    if not os.environ.get("AEB_DATA_DIR"):
        pytest.skip("AEB_DATA_DIR is not set")
    table = load_uci(name)
    assert table.features.shape == (rows, columns)
    assert table.target.shape == (rows,)
    assert len(table.names) == columns
