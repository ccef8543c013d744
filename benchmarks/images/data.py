# SPDX-License-Identifier: Apache-2.0
"""The images: what to train on, what to score on, and the set that the network has never seen.

Beside MNIST stands Fashion-MNIST and the reverse. `digits`, which ships with the package, is for
trying the scripts out: its 8x8 images are enlarged to 28x28, and their negatives are the other set.
"""

import functools
from typing import NamedTuple

import numpy as np

import aeb
from aeb.data import DataError
from aeb.usage import UsageError
from benchmarks.images.recipe import Set

OTHER: dict[str, str] = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}


class Images(NamedTuple):
    """The images of a run, all uint8[., 28, 28, 1]."""

    train: dict[str, np.ndarray]  # image [N, ...] and label i32[N]
    image: np.ndarray  # [M, ...]: to score on
    label: np.ndarray  # i32[M]
    other: np.ndarray  # [O, ...]: of the other set


def images(name: Set, num_train: int, num_scored: int, *, validate: bool) -> Images:
    """Choose the images of a run.

    Args:
        name: the set.
        num_train: images to train on, the first of a fixed shuffle of the training images.
        num_scored: images to score on, and of the other set, at most; the first of its test images.
        validate: score on the last of that shuffle instead of the test images.

    Returns:
        `Images`.

    Raises:
        UsageError: there is no such set here, or it has too few images.
    """
    train, test = _load(name)
    total = len(train["label"])
    need = num_train + (num_scored if validate else 0)
    if need > total:
        raise UsageError(f"num_train: {name} has {total} training images, {need} are asked for")
    order = np.random.default_rng(0).permutation(total)
    kept = {part: leaf[order[:num_train]] for part, leaf in train.items()}
    if validate:
        test = {part: leaf[order[total - num_scored :]] for part, leaf in train.items()}
    scored = test["image"][:num_scored]
    other = 255 - scored if name == "digits" else _load(OTHER[name])[1]["image"][:num_scored]
    return Images(kept, scored, test["label"][:num_scored], other)


@functools.lru_cache(maxsize=3)
def _load(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    try:
        data = aeb.data.load(name)
    except DataError as error:
        raise UsageError(str(error)) from error
    if name != "digits":
        return data.train, data.test
    train, test = ({**part, "image": _enlarged(part["image"])} for part in (data.train, data.test))
    return train, test


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Enlarge [B, 8, 8, 1] of 0 .. 16 to [B, 28, 28, 1] of 0 .. 255, with a black rim."""
    tripled = image.repeat(3, axis=1).repeat(3, axis=2)
    rim = ((0, 0), (2, 2), (2, 2), (0, 0))
    return np.pad((tripled.astype(np.uint16) * 255 // 16).astype(np.uint8), rim)
