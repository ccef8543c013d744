# SPDX-License-Identifier: Apache-2.0
"""The large-p-small-n regression: its data, its sampler, the scores of its rows."""

from large_p.design import DataSet, Design, draw, population_mse
from large_p.recipe import ARMS, Recipe
from large_p.sampler import Carry, build
from large_p.scores import score

__all__ = [
    "ARMS",
    "Carry",
    "DataSet",
    "Design",
    "Recipe",
    "build",
    "draw",
    "population_mse",
    "score",
]
