# SPDX-License-Identifier: Apache-2.0
"""Data sets as arrays, and augmentation on the device."""

from aeb.data.augment import (
    compose,
    random_crop,
    random_erasing,
    random_flip,
    random_rotation,
)
from aeb.data.files import DataError, cache_folder
from aeb.data.images import Dataset, load
from aeb.data.normalize import normalizer
from aeb.data.stream import stream
from aeb.data.uci import Table, load_uci, train_test_split

__all__ = [
    "DataError",
    "Dataset",
    "Table",
    "cache_folder",
    "compose",
    "load",
    "load_uci",
    "normalizer",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_rotation",
    "stream",
    "train_test_split",
]
