# SPDX-License-Identifier: Apache-2.0
"""Reading and checking a table of numbers, and standardising it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Standardised", "as_matrix", "as_target", "column_names", "standardise"]


class Standardised(NamedTuple):
    """Columns of mean 0 and mean square 1, and how they were made so."""

    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    x_mean: np.ndarray  # f64[p]
    x_scale: np.ndarray  # f64[p]
    y_mean: float
    y_scale: float


def as_matrix(name: str, value: Any) -> np.ndarray:
    """Read a matrix of finite real numbers as f64[n, p], or say what is wrong with it."""
    matrix = _real(name, value)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise ValueError(f"{name}: got shape {matrix.shape}, needs to be [rows, columns]")
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{name}: {len(bad)} of its numbers are not finite, the first in row {row}, "
            f"column {column}; drop or fill them"
        )
    return matrix


def as_target(name: str, value: Any, rows: int) -> np.ndarray:
    """Read the target as f64[n], or say what is wrong with it."""
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
    """Take the names given, those of a data frame, or x0, x1, ..."""
    if names is None:
        names = getattr(value, "columns", None)
    if names is None:
        return tuple(f"x{j}" for j in range(count))
    if isinstance(names, str) or len(names) != count:
        raise ValueError(f"names: got {names!r:.60}, needs to name each of the {count} columns")
    return tuple(str(name) for name in names)


def standardise(x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> Standardised:
    """Give every column and y mean 0 and mean square 1.

    Raises:
        ValueError: there are fewer than three rows, or a column or y is constant.
    """
    if len(y) < 3:
        raise ValueError(f"X: got {len(y)} rows, needs at least 3")
    x_mean, y_mean = x.mean(axis=0), float(y.mean())
    x, y = x - x_mean, y - y_mean
    x_scale, y_scale = np.sqrt(np.mean(x**2, axis=0)), float(np.sqrt(np.mean(y**2)))
    # What rounding leaves of a constant is not a scale.
    rounding = 8 * np.finfo(np.float64).eps
    constant = np.flatnonzero(x_scale <= rounding * np.abs(x_mean))
    if len(constant):
        some = ", ".join(names[j] for j in constant[:5])
        raise ValueError(f"X: {len(constant)} columns are constant ({some}); drop them")
    if y_scale <= rounding * abs(y_mean):
        raise ValueError("y: it is constant, so there is nothing to explain")
    return Standardised(x / x_scale, y / y_scale, x_mean, x_scale, y_mean, y_scale)


def _real(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: its rows differ in length") from error
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name}: got entries that are not numbers; encode text and categories as numbers"
            ) from None
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    return array.astype(np.float64)
