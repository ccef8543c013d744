# SPDX-License-Identifier: Apache-2.0
"""The UCI regressions: their splits, the arms, the chains, the scores of the rows."""

from tabular.arms import cell_of, poster_model
from tabular.chains import Shape, build, run
from tabular.recipe import ARMS, ArmName, Poster, temper
from tabular.recommended import Recommended, recommended_model, setting_of
from tabular.scores import best_noise, score
from tabular.splits import SEEDS, SETS, Set, hold_out, load, split, stack

__all__ = [
    "ARMS",
    "SEEDS",
    "SETS",
    "ArmName",
    "Poster",
    "Recommended",
    "Set",
    "Shape",
    "best_noise",
    "build",
    "cell_of",
    "hold_out",
    "load",
    "poster_model",
    "recommended_model",
    "run",
    "score",
    "setting_of",
    "split",
    "stack",
    "temper",
]
