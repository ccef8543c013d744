# SPDX-License-Identifier: Apache-2.0
"""Read, check and standardise a table of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aeb.guards import some
from aeb.linear.frames import Encoding, describe_missing, is_frame, read

__all__ = [
    "Standardised",
    "as_matrix",
    "as_table",
    "as_target",
    "check_form",
    "column_names",
    "dense",
    "is_constant",
    "mean_of_rows",
    "standardise",
]


MOST_DENSE = 500_000_000
"""The largest size of a sparse matrix that is made dense: 4 GB."""

EXTREME = 1e30
"""The largest ratio between the units of y and of a column. A float32 ends at 3e38."""


class Standardised(NamedTuple):
    """Columns with mean 0 and mean square 1, and how to undo the standardisation."""

    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    x_mean: np.ndarray  # f64[p]
    x_scale: np.ndarray  # f64[p]
    y_mean: float
    y_scale: float


def as_table(
    name: str, value: Any, names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...], Encoding | None]:
    """Read a matrix or a data frame, and check it.

    Args:
        name: the name of the argument, for messages.
        value: an array, a sparse matrix or a data frame.
        names: the names of the columns. By default those of the data frame, or x0, x1, ...

    Returns:
        The matrix, f64[n, p]; the names of its columns; and how a data frame became that matrix, or
        None if it was not a data frame.
    """
    encoding = None
    if is_frame(value):
        value, encoding = read(name, value)
        names = encoding.names if names is None else names
    matrix = as_matrix(name, value, names)
    return matrix, column_names(names, value, matrix.shape[1]), encoding


def as_matrix(
    name: str, value: Any, names: Sequence[str] | None = None, *, new: bool = False
) -> np.ndarray:
    """Read a matrix of finite real numbers as f64[n, p], and check it.

    Args:
        name: the name of the argument, for messages.
        value: an array, a sparse matrix, which is made dense, or a data frame of numbers.
        names: the names of its columns, for messages. By default those of the data frame.
        new: whether the rows are new ones, whose columns are those of the fit.
    """
    check_form(name, value)
    names = getattr(value, "columns", None) if names is None else names
    # A row of a data frame has several types, so look at the shape first.
    matrix = value if getattr(value, "ndim", 0) == 1 else _real(name, value, names)
    if matrix.ndim != 2 or not matrix.shape[1]:
        single = "; one row is [1, columns], such as frame.iloc[[0]], and one column [rows, 1]"
        raise ValueError(
            f"{name}: got shape {matrix.shape}, needs to be [rows, columns]"
            f"{single * (matrix.ndim == 1)}"
        )
    bad = ~np.isfinite(matrix)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{name}: {bad.sum()} of its numbers are not finite, the first in row {row}, "
            f"{_column(column, names)}; {describe_missing(bad, names, new=new)}"
        )
    return matrix


def check_form(name: str, value: Any) -> None:
    """Refuse a lazy frame and a mapping, which NumPy would read as a single object."""
    if hasattr(value, "collect"):
        raise TypeError(f"{name}: got a lazy frame, needs its values; pass {name}.collect()")
    # One of SciPy's sparse matrices, by keys, is a mapping too.
    if isinstance(value, Mapping) and not hasattr(value, "shape"):
        raise TypeError(f"{name}: got a mapping, needs a table; pass pandas.DataFrame({name})")


def as_target(name: str, value: Any, rows: int) -> np.ndarray:
    """Read one number per row, such as the target, as f64[n], and check them."""
    if isinstance(value, str):
        raise TypeError(
            f"{name}: got the text {value!r}, needs a number for each row; pass the column itself, "
            f"X[{value!r}], and leave it out of X"
        )
    target = _real(name, value)
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim != 1:
        raise ValueError(f"{name}: got shape {target.shape}, needs to be [rows]")
    if len(target) != rows:
        raise ValueError(f"{name}: got {len(target)} numbers for the {rows} rows of X")
    bad = np.flatnonzero(~np.isfinite(target))
    if len(bad):
        raise ValueError(
            f"{name}: {len(bad)} of its numbers are not finite, the first in row {bad[0]}; "
            "drop those rows"
        )
    return target


def column_names(names: Sequence[str] | None, value: Any, count: int) -> tuple[str, ...]:
    """Return the names that are given, those of a data frame, or x0, x1, ..."""
    if names is None:
        names = getattr(value, "columns", None)
    if names is None:
        return tuple(f"x{j}" for j in range(count))
    if isinstance(names, str) or len(names) != count:
        raise ValueError(f"names: got {names!r:.60}, needs to name each of the {count} columns")
    found = tuple(str(name) for name in names)
    twice = [name for name, times in Counter(found).items() if times > 1]
    if twice:
        raise ValueError(
            f"names: more than one column is called {some(twice)}; rename all but one of each"
        )
    return found


def standardise(
    x: np.ndarray, y: np.ndarray, names: Sequence[str], repeats: np.ndarray | None = None
) -> Standardised:
    """Scale y and every column to mean 0 and mean square 1.

    Args:
        x: f64[n, p].
        y: f64[n].
        names: the names of the columns, for messages.
        repeats: f64[n], positive, how often each row counts in the means; None if once.

    Raises:
        ValueError: there are fewer than three rows, a column or y is constant, or a coefficient
            would be too large or too small for a float32.
    """
    size = len(y) if repeats is None else repeats.sum()
    if size < 3:
        raise ValueError(f"X: got {size:g} rows, needs at least 3")
    constant = np.flatnonzero(is_constant(x))
    if len(constant):
        some = ", ".join(names[j] for j in constant[:5])
        are = "column is" if len(constant) == 1 else "columns are"
        raise ValueError(f"X: {len(constant)} {are} constant ({some}); drop what is constant")
    if is_constant(y[:, None])[0]:
        raise ValueError("y: it is constant, so there is nothing to explain")
    x_size, y_size = np.abs(x).max(axis=0), float(np.abs(y).max())
    with np.errstate(over="ignore", under="ignore"):
        unit = y_size / x_size
    extreme = np.flatnonzero(~((unit > 1 / EXTREME) & (unit < EXTREME)))
    if len(extreme):
        j = extreme[0]
        raise ValueError(
            f"X: y is up to {y_size:.3g} and {names[j]} up to {x_size[j]:.3g}, too far apart; "
            "measure them in other units"
        )
    # Squares of large numbers overflow, so rescale first. Powers of 2 cause no rounding.
    x_size, y_size = _power_of_2(x_size), float(_power_of_2(y_size))
    x, y = x / x_size, y / y_size
    x_mean, y_mean = mean_of_rows(x, repeats), float(mean_of_rows(y, repeats))
    x, y = x - x_mean, y - y_mean
    x_scale, y_scale = (
        np.sqrt(mean_of_rows(x**2, repeats)),
        float(np.sqrt(mean_of_rows(y**2, repeats))),
    )
    return Standardised(
        x / x_scale,
        y / y_scale,
        x_mean * x_size,
        x_scale * x_size,
        y_mean * y_size,
        y_scale * y_size,
    )


def mean_of_rows(values: np.ndarray, repeats: np.ndarray | None) -> Any:
    """Return the mean over rows, of which each counts as often as `repeats` says."""
    return values.mean(axis=0) if repeats is None else repeats @ values / repeats.sum()


def _power_of_2(size: Any) -> Any:
    """Return the largest power of 2 that is at most `size`."""
    return np.ldexp(1.0, np.frexp(size)[1] - 1)


def is_constant(x: np.ndarray) -> np.ndarray:
    """Return which columns vary by no more than rounding, bool[p]."""
    rounding = 8 * np.finfo(np.float64).eps
    low, high = x.min(axis=0), x.max(axis=0)
    # Halved, because the range of large numbers may overflow.
    return high / 2 - low / 2 <= rounding * np.maximum(np.abs(low), np.abs(high))


def _column(column: int, names: Sequence[str] | None) -> str:
    """Describe a column, by its name if there is one."""
    known = names is not None and not isinstance(names, str) and column < len(names)
    return f"column {column}" + (f" ({names[column]!r})" if known and names is not None else "")


def dense(name: str, value: Any) -> Any:
    """Make a sparse matrix dense, and return anything else unchanged.

    Raises:
        ValueError: it would have more than half a billion numbers.
    """
    if not hasattr(value, "toarray"):
        return value
    if np.prod(value.shape, dtype=np.float64) > MOST_DENSE:
        raise ValueError(
            f"{name}: got a sparse matrix of shape {value.shape}, needs at most {MOST_DENSE:,} "
            "numbers, zeros counted, for it is made dense; choose columns or rows first"
        )
    return value.toarray()


def _real(name: str, value: Any, names: Sequence[str] | None = None) -> np.ndarray:
    value = dense(name, value)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name}: some of its entries are masked; drop or fill them")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: its rows differ in length") from error
    if array.dtype == object:
        # Text that looks like a number is still text.
        text = [isinstance(entry, str | bytes) for entry in array.flat]
        try:
            if any(text):
                raise TypeError
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            first = np.unravel_index(int(np.argmax(text)), array.shape)
            where = f", the first in {_column(int(first[1]), names)}" if array.ndim == 2 else ""
            classes = ", two classes by y == the name of one of them" if name == "y" else ""
            raise TypeError(
                f"{name}: got entries that are not numbers{where if any(text) else ''}; "
                f"encode text and categories as numbers{classes}"
            ) from None
    if array.dtype.kind not in "biuf":
        advice = "; encode text and categories as numbers" if array.dtype.kind in "US" else ""
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}{advice}")
    return array.astype(np.float64)
