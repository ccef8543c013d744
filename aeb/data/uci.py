# SPDX-License-Identifier: Apache-2.0
"""The UCI regression sets of the paper, from CSV files with one header line.

The last column is the target. In `energy` that is the cooling load, Y2. The heating load, Y1, is a
second target, so it is left out of the features.
"""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aeb.data.files import DataError
from aeb.guards import one_of

__all__ = ["Table", "load_uci", "train_test_split"]

# Columns that are neither feature nor target.
_DROP: dict[str, tuple[str, ...]] = {
    "boston": (),
    "concrete": (),
    "energy": ("Y1",),
    "power": (),
    "wine_red": (),
    "yacht": (),
}


class Table(NamedTuple):
    """A regression set, in float64 so that standardising it loses nothing.

    Attributes:
        features: f64[N, D], as in the file.
        target: f64[N], in its own unit.
        names: the D names of the features.

    Example:
        >>> Table(np.ones((3, 2)), np.zeros(3), ("length", "speed"))
        Table(3 rows of length, speed)
    """

    features: np.ndarray
    target: np.ndarray
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Table({len(self.target):,} rows of {', '.join(self.names)})"


def load_uci(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> Table:
    r"""Load a regression set from `DATA_DIR/uci/NAME.csv`.

    Args:
        name: `boston`, `concrete`, `energy`, `power`, `wine_red` (or `wine`) or `yacht`.
        data_dir: the folder above `uci`; None takes `$AEB_DATA_DIR`.

    Returns:
        A `Table`.

    Raises:
        ValueError: there is no set of that name.
        DataError: no folder is named, or the file is missing, damaged or holds a cell that is not
            a finite number.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "uci", "yacht.csv")
        ...     file.parent.mkdir()
        ...     _ = file.write_text("length,speed,drag\n1,2,3\n4,5,6\n")
        ...     table = load_uci("yacht", data_dir=folder)
        >>> table.features.shape, table.target.tolist(), table.names
        ((2, 2), [3.0, 6.0], ('length', 'speed'))
    """
    if name == "wine":
        name = "wine_red"
    one_of("name", name, tuple(_DROP))
    root = data_dir or os.environ.get("AEB_DATA_DIR")
    if not root:
        raise DataError(
            f"{name}: no data folder: set AEB_DATA_DIR, or data_dir, to the folder that holds"
            f" uci/{name}.csv"
        )
    path = Path(root).expanduser() / "uci" / f"{name}.csv"
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; set AEB_DATA_DIR, or data_dir, to the folder that holds"
            f" uci/{name}.csv"
        )
    header, values = _read(path)
    missing = [column for column in _DROP[name] if column not in header]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r} in the header {header}")
    kept = [i for i, column in enumerate(header[:-1]) if column not in _DROP[name]]
    return Table(values[:, kept], values[:, -1], tuple(header[i] for i in kept))


def train_test_split(table: Table, *, seed: int, test_fraction: float = 0.1) -> tuple[Table, Table]:
    """Split the rows at random, as scikit-learn's `train_test_split(random_state=seed)` does.

    The paper's splits are 90/10 by that function, so the same seeds give the same rows here.

    Args:
        table: the set.
        seed: the seed, 0 <= seed < 2^32.
        test_fraction: the share of test rows, rounded up, 0 < test_fraction < 1.

    Returns:
        The training and the test `Table`.

    Raises:
        ValueError: a split would be empty.

    Example:
        >>> table = Table(np.eye(10), np.arange(10.0), tuple("abcdefghij"))
        >>> train, test = train_test_split(table, seed=5)
        >>> len(train.target), test.target.tolist()
        (9, [9.0])
    """
    num_rows = len(table.target)
    num_test = math.ceil(test_fraction * num_rows)
    if not 0 < num_test < num_rows:
        raise ValueError(
            f"test_fraction: {test_fraction} of {num_rows} rows leaves a split empty; take a"
            " fraction between 0 and 1"
        )
    rows = np.random.RandomState(seed).permutation(num_rows)  # scikit-learn's generator
    train, test = rows[num_test:], rows[:num_test]
    return (
        Table(table.features[train], table.target[train], table.names),
        Table(table.features[test], table.target[test], table.names),
    )


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file, strict=True) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: damaged or not a CSV file: {error}") from error
    if len(lines) < 2:
        raise DataError(f"{path}: needs a header line and at least one row")
    header = [column.strip() for column in lines[0]]
    if len(header) < 2:
        raise DataError(f"{path}: needs at least one feature and the target, got {header}")
    values = np.empty((len(lines) - 1, len(header)))
    for number, line in enumerate(lines[1:]):
        if len(line) != len(header):
            raise DataError(
                f"{path}: row {number + 1} has {len(line)} cells, the header has {len(header)}"
            )
        for column, cell in enumerate(line):
            values[number, column] = _number(cell, path, number + 1, header[column])
    return header, values


def _number(cell: str, path: Path, row: int, column: str) -> float:
    where = f"{path}: row {row}, column {column!r}"
    try:
        value = float(cell)
    except ValueError as error:
        raise DataError(f"{where}: {cell!r} is not a number") from error
    if not math.isfinite(value):
        raise DataError(f"{where}: {cell!r} is not finite")
    return value
