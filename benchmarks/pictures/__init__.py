# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST: their images, the two networks, the arms, the scores of the rows."""

from pictures.attacks import Attacked
from pictures.chains import Trained, train
from pictures.data import Images, images
from pictures.kept import Found, trained
from pictures.networks import network
from pictures.recipe import ARMS, ArmName, Cell, Recipe, Set
from pictures.scores import draws_of, score

__all__ = [
    "ARMS",
    "ArmName",
    "Attacked",
    "Cell",
    "Found",
    "Images",
    "Recipe",
    "Set",
    "Trained",
    "draws_of",
    "images",
    "network",
    "score",
    "train",
    "trained",
]
