# SPDX-License-Identifier: Apache-2.0
"""Turn data frames into matrices: numbers as they are, text and categories as indicators.

A frame is anything that narwhals reads: pandas, polars, PyArrow and others. Without narwhals, a
frame is read as an array, and may contain only numbers.

    numbers, booleans        one column, f64
    text, categories         the first of K levels is the base; each of the others has a column,
                             which is 1 at that level and 0 elsewhere, named `column[level]`
    dates, lists and others  refused

Only levels that occur in the data count. Those of an ordered category keep their order; others are
sorted. This is treatment coding: a coefficient says how its level differs from the base. The
columns of one category are a group, which is in the model or out of it as a whole (`ties.py`).
Coefficients are shrunk towards 0, so levels are shrunk towards the base. To choose another base,
order the levels.

A level that the fit has not seen has no coefficient. New rows that have one are refused, or with
`unknown="ignore"` are given zeros, as by scikit-learn's OneHotEncoder: they count as the base.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from aeb import guards
from aeb.guards import some

__all__ = ["Column", "Encoding", "encode", "is_frame", "read"]

ROW_NAMES = re.compile(r"(row[_ .]?)?(id|index|number|no|nr)|row|Unnamed: 0", re.IGNORECASE)
"""Names of columns that number the rows, if they hold 0, 1, 2, ... or 1, 2, 3, ..."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

MOST_LISTED = 10
"""How many of the things that are wrong with a frame an error lists."""


class Column(NamedTuple):
    """One column of a frame: its name, and for text and categories its levels with indicators."""

    name: str
    levels: tuple[str, ...] | None = None
    base: str | None = None  # the level at which all indicators are 0


class Encoding(NamedTuple):
    """How the columns of a frame became those of a matrix."""

    columns: tuple[Column, ...]

    @property
    def frame_names(self) -> tuple[str, ...]:
        """The names of the frame's columns."""
        return tuple(column.name for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the matrix's columns."""
        return tuple(
            column.name if level is None else f"{column.name}[{level}]"
            for column in self.columns
            for level in (column.levels if column.levels is not None else (None,))
        )

    @property
    def sources(self) -> list[np.ndarray]:
        """For each column of the frame, the columns of the matrix that it became."""
        counts = [1 if column.levels is None else len(column.levels) for column in self.columns]
        return np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])


def is_frame(value: Any) -> bool:
    """Return whether narwhals reads a value as a data frame. Without narwhals, nothing is one."""
    # Look at the class: on the instance, a property would be computed.
    if not hasattr(type(value), "columns"):
        return False
    try:
        import narwhals.stable.v2 as narwhals
    except ImportError:
        return False
    return isinstance(_frame("X", value), narwhals.DataFrame)


def read(name: str, value: Any) -> tuple[np.ndarray, Encoding]:
    """Turn a data frame into a matrix.

    Args:
        name: the name of the argument, for messages.
        value: the frame.

    Returns:
        f64[n, p] without missing numbers, and the encoding, which `encode` needs.

    Raises:
        ValueError: values are missing, or a text column has a different value in nearly every row.
        TypeError: a column contains neither numbers nor text.

    Example:
        >>> import pytest; polars = pytest.importorskip("polars")
        >>> frame = polars.DataFrame({"age": [30, 41, 25], "group": ["b", "a", "c"]})
        >>> matrix, encoding = read("X", frame)
        >>> encoding.names
        ('age', 'group[b]', 'group[c]')
        >>> matrix[0].tolist()
        [30.0, 1.0, 0.0]
    """
    series = _columns_of(name, value)
    columns: list[Column] = []
    wrong: list[Exception] = [gap] if (gap := _gap(name, series)) else []
    for own in series:
        try:
            columns.append(_column(name, own.drop_nulls()))
        except (TypeError, ValueError) as error:
            wrong.append(error)
    # Missing numbers are counted already.
    infinite = [_infinite(name, own) for own in series]
    wrong += [error for error in infinite if error is not None]
    if wrong:
        raise _together(name, wrong)
    _warn_of_odd_columns(name, series)
    encoding = Encoding(tuple(columns))
    return _matrix(name, series, encoding), encoding


def encode(name: str, value: Any, encoding: Encoding, unknown: str = "error") -> np.ndarray:
    """Turn another frame with the same columns into a matrix.

    Args:
        name: the name of the argument, for messages.
        value: a frame with the columns of the first frame, in the same order.
        encoding: the encoding of the first frame.
        unknown: what to do with a level that did not occur in the first frame: "error" refuses it,
            "ignore" takes it for the base.

    Returns:
        f64[n, p].

    Raises:
        ValueError: values are missing, or a level did not occur in the first frame.
        TypeError: a column was numeric and is not now, or the other way round.
    """
    guards.one_of("unknown", unknown, ("error", "ignore"))
    series = _columns_of(name, value)
    if gap := _gap(name, series, new=True):
        raise gap
    return _matrix(name, series, encoding, unknown)


def _frame(name: str, value: Any) -> Any:
    import narwhals.stable.v2 as narwhals
    from narwhals.exceptions import DuplicateError

    try:
        return narwhals.from_native(value, eager_only=True, pass_through=True)
    except DuplicateError as error:
        raise ValueError(f"{name}: two of its columns share a name; rename one: {error}") from error


def _columns_of(name: str, value: Any) -> list[Any]:
    frame = _frame(name, value)
    return [frame[:, j] for j in range(frame.shape[1])]


def _gap(name: str, series: list[Any], *, new: bool = False) -> ValueError | None:
    """Return an error that says where values are missing, or None if none is.

    Args:
        name: the name of the argument.
        series: the columns.
        new: whether the rows are new ones, whose columns are those of the fit.
    """
    rows = len(series[0]) if series else 0
    empty = np.array([_missing(own) for own in series]).reshape(len(series), rows)
    if not empty.any():
        return None
    return ValueError(
        f"{name}: {empty.sum()} of its values are missing; "
        f"{describe_missing(empty.T, [own.name for own in series], new=new)}"
    )


def _infinite(name: str, series: Any) -> ValueError | None:
    """Return an error that counts the infinite numbers of a column, or None if there is none."""
    if not series.dtype.is_float():
        return None
    count = int(np.isinf(series.drop_nulls().to_numpy().astype(np.float64)).sum())
    if not count:
        return None
    return ValueError(f"{name}: {count} numbers of column {str(series.name)!r} are not finite")


def _warn_of_odd_columns(name: str, series: list[Any]) -> None:
    """Warn of text that spells numbers, and of a column that numbers the rows."""
    import narwhals.stable.v2 as narwhals

    texts = [
        str(own.name)
        for own in series
        if own.dtype in (narwhals.String, narwhals.Object) and _spells_numbers(own.to_list())
    ]
    if texts:
        warnings.warn(
            f"{name}: {some(texts)} held numbers as text, and each counts as a category with a "
            "level for each of them; if they are quantities, turn them into numbers, and if they "
            "are codes, into categories",
            stacklevel=guards.stacklevel(),
        )
    numbers = [
        str(own.name)
        for own in series
        if ROW_NAMES.fullmatch(str(own.name)) and own.dtype.is_integer() and _counts_rows(own)
    ]
    if numbers:
        warnings.warn(
            f"{name}: {some(numbers)} numbers the rows; leave it out of {name}",
            stacklevel=guards.stacklevel(),
        )


def _spells_numbers(values: list[Any]) -> bool:
    """Return whether all values are texts such as "3.5"."""
    return bool(values) and all(
        isinstance(entry, str) and NUMBER.fullmatch(entry.strip()) for entry in values
    )


def _counts_rows(series: Any) -> bool:
    """Return whether a column is 0, 1, 2, ... or 1, 2, 3, ..."""
    values = series.to_numpy()
    rows = np.arange(len(values))
    return bool(len(values) > 1 and (np.all(values == rows) or np.all(values == rows + 1)))


def _together(name: str, wrong: Sequence[Exception]) -> Exception:
    """Make one error of several, so that the user can mend all of it at once."""
    if len(wrong) == 1:
        return wrong[0]
    listed = [str(error).removeprefix(f"{name}: ") for error in wrong[:MOST_LISTED]]
    more = len(wrong) - len(listed)
    if more:
        listed.append(f"and {more} more columns that cannot be read")
    return ValueError(f"{name}: {len(wrong)} things are wrong with it\n- " + "\n- ".join(listed))


def describe_missing(missing: np.ndarray, names: Sequence[Any] | None, *, new: bool = False) -> str:
    """Say how many values are missing, in which columns, and what to do.

    Args:
        missing: bool[n, p].
        names: the names of the columns, if they have any.
        new: whether the rows are new ones, whose columns are those of the fit.
    """
    counts = missing.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    order = order[: np.count_nonzero(counts)]
    listed = [f"{_label(j, names)} ({counts[j]})" for j in order[:5]]
    more = f" and {len(order) - 5} more columns" if len(order) > 5 else ""
    found = f"missing by column: {', '.join(listed)}{more}; "
    if new:
        rows = int(missing.any(axis=1).sum())
        return (
            f"{found}leave out the {rows} of {len(missing)} rows that have some, or fill them in "
            "as those of the fit were"
        )
    empty = counts == len(missing)
    if empty.any():
        return f"{found}first drop the columns that have no value at all ({int(empty.sum())})"
    rows = int(missing.any(axis=1).sum())
    return (
        f"{found}drop the {rows} of {len(missing)} rows that have some, or those columns, or fill "
        "them in (scikit-learn's SimpleImputer)"
    )


def _label(column: int, names: Sequence[Any] | None) -> str:
    known = names is not None and not isinstance(names, str) and column < len(names)
    return repr(names[column]) if known and names is not None else f"column {column}"


def _missing(series: Any) -> np.ndarray:
    """Return which values are null or nan, bool[n]."""
    empty = series.is_null()
    if series.dtype.is_float():
        empty = empty | series.is_nan().fill_null(True)
    return empty.to_numpy().astype(bool)


def _column(name: str, series: Any) -> Column:
    """Describe how one column becomes numbers."""
    import narwhals.stable.v2 as narwhals

    dtype, title = series.dtype, str(series.name)
    if dtype.is_numeric() or dtype == narwhals.Boolean:
        return Column(title)
    if dtype not in (narwhals.String, narwhals.Categorical, narwhals.Enum):
        values = series.to_list()
        if all(isinstance(entry, int | float | np.number | np.bool_) for entry in values):
            return Column(title)
        if not all(isinstance(entry, str) for entry in values):
            kinds = sorted({type(entry).__name__ for entry in values})
            if len(kinds) > 1:
                raise TypeError(
                    f"{name}: column {title!r} holds values of several types ({', '.join(kinds)}), "
                    "needs to be all numbers or all text; mend the odd ones"
                )
            raise TypeError(
                f"{name}: column {title!r} is of type {dtype}, needs to be numbers, booleans, text "
                "or categories; turn a date into days since another, and the like"
            )
    values = [str(entry) for entry in series.to_list()]
    present = set(values)
    order = dtype.categories if isinstance(dtype, narwhals.Enum) else sorted(present)
    levels = tuple(str(level) for level in order if str(level) in present)
    if len(levels) > max(10, len(values) // 2):
        raise ValueError(
            f"{name}: column {title!r} has {len(levels)} different texts in {len(values)} rows; "
            "drop it if it names the rows, or put its levels together"
        )
    if len(levels) < 2:
        # A constant column. It is refused later, as all constants are.
        return Column(title, levels)
    return Column(title, levels[1:], levels[0])


def _matrix(name: str, series: list[Any], encoding: Encoding, unknown: str = "error") -> np.ndarray:
    parts = []
    for own, column in zip(series, encoding.columns, strict=True):
        values = own.to_list() if column.levels is not None else own.to_numpy()
        if column.levels is None:
            parts.append(_numbers(name, column, values))
            continue
        texts = np.array([str(entry) for entry in values], object)
        known = {*column.levels} | ({column.base} if column.base is not None else set())
        new = sorted(set(texts) - known)
        if new and unknown == "error":
            base = "none of these" if column.base is None else f"the base, {column.base!r}"
            raise ValueError(
                f"{name}: column {column.name!r} has {some(new)}, and the fit had only "
                f"{some(sorted(known), 5)}; leave those rows out, fit with some of them, or pass "
                f'unknown="ignore", which takes them for {base}'
            )
        parts.extend(np.asarray(texts == level, np.float64) for level in column.levels)
    return np.column_stack(parts) if parts else np.empty((0, 0))


def _numbers(name: str, column: Column, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    real = values.dtype.kind in "biuf" or (
        values.dtype == object
        and all(isinstance(entry, Real | Decimal | np.bool_) for entry in values)
    )
    try:
        if not real:
            raise TypeError  # a date or a text may be converted, but into something else
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: column {column.name!r} held numbers in the fit, and holds others now"
        ) from None
    infinite = int(np.count_nonzero(~np.isfinite(numbers)))
    if infinite:
        raise ValueError(f"{name}: {infinite} numbers of column {column.name!r} are not finite")
    return numbers
