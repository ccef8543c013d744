# SPDX-License-Identifier: Apache-2.0
"""What is compared, on what, and how it is set."""

from typing import Any, Literal, NamedTuple

import numpy as np

__all__ = ["FOLDS", "RATIOS", "SETTINGS", "SPARSE", "STRENGTHS", "TOLERANCE", "Cell", "Method"]

Method = Literal["truth", "ridge", "l1", "elastic net", "abess", "abess, folds", "aeb"]

FOLDS = 10

STRENGTHS = np.geomspace(1e-4, 1e3, 29)
"""Inverse penalties C of the log likelihood summed over the rows, for standardised columns."""

SPARSE = STRENGTHS[8:]
"""Those of a penalty with a share of l1: below, no coefficient is left."""

RATIOS = (0.1, 0.5, 0.9)
"""Shares of the l1 penalty in the elastic net."""

TOLERANCE = 1e-3
"""Of scikit-learn's solver for l1, relative; ten times its default, which takes five times as long
for the same penalty."""

SETTINGS: dict[Method, dict[str, Any]] = {
    "ridge": {"folds": FOLDS, "strengths": len(STRENGTHS)},
    "l1": {"folds": FOLDS, "strengths": len(SPARSE), "tolerance": TOLERANCE},
    "elastic net": {
        "folds": FOLDS,
        "strengths": len(SPARSE),
        "ratios": RATIOS,
        "tolerance": TOLERANCE,
    },
    "abess, folds": {"folds": FOLDS},
}
"""What a row says of how a method is set."""


class Cell(NamedTuple):
    """A method on a design, or on real data."""

    method: Method
    task: str  # of `data.DESIGNS` or `data.TASKS`
    repeats: int  # data sets of a design, folds of real data
