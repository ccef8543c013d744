# SPDX-License-Identifier: Apache-2.0
"""The large-p-small-n regression: its data, its sampler, the scores of its rows."""

from large_p.design import DataSet, Design, data_key, draw, population_mse
from large_p.recipe import ARMS, Cell, Recipe
from large_p.sampler import Carry, build
from large_p.scores import score

__all__ = [
    "ARMS",
    "Carry",
    "Cell",
    "DataSet",
    "Design",
    "Recipe",
    "build",
    "data_key",
    "draw",
    "population_mse",
    "score",
]
