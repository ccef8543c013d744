# SPDX-License-Identifier: Apache-2.0
"""Image sets for classification, as arrays that fit in memory.

`digits` ships with the package. The others are read from what TFDS prepared, decoded once, and
kept as one .npz file per set in the cache folder (`aeb.data.cache_folder`).
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aeb.data import prepared
from aeb.data.files import DataError, cache_folder, read_npz, write_npz
from aeb.guards import one_of

__all__ = ["Dataset", "load", "locate"]

_PREPARED = ("mnist", "fashion_mnist", "cifar10")
_NAMES = ("digits", *_PREPARED)
_NUM_CLASSES = 10
_ARRAYS = ("train_image", "train_label", "test_image", "test_label")
_DIGITS = Path(__file__).with_name("digits.npz")
_DIGITS_TEST_PER_CLASS = 36
_TFDS = "~/tensorflow_datasets"


class Dataset(NamedTuple):
    """An image set; each split is a batch like any other, `{"image": ..., "label": ...}`.

    Attributes:
        train: `image` uint8[N, H, W, C] and `label` int32[N].
        test: the same for the held-out images.
        num_classes: the labels are 0 .. num_classes - 1.
        name: the name it was loaded by.

    Example:
        >>> load("digits")
        Dataset('digits': 1,437 + 360 images of 8x8x1, 10 classes)
    """

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    num_classes: int
    name: str

    def __repr__(self) -> str:
        train, test = self.train["image"], self.test["image"]
        return (
            f"Dataset({self.name!r}: {len(train):,} + {len(test):,} images of "
            f"{'x'.join(map(str, train.shape[1:]))}, {self.num_classes} classes)"
        )


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> Dataset:
    """Load an image set into memory.

    The cache saves decoding the images again. It is used if it was made from the set in `data_dir`,
    or if no folder is named, so that you can carry the .npz file alone to another machine. A
    damaged cache is replaced with a warning. If the cache cannot be written, you get a warning, and
    the images are decoded again next time.

    Args:
        name: `digits` (8x8 pixels of 0 .. 16, 1437 + 360 images), `mnist`, `fashion_mnist`
            (28x28x1, 60,000 + 10,000) or `cifar10` (32x32x3, 50,000 + 10,000).
        data_dir: the folder of the sets that TFDS prepared; None takes `$TFDS_DATA_DIR`, else
            `~/tensorflow_datasets`. A set that is not there is prepared by TFDS, if it can.
        cache_dir: the folder of decoded sets; None takes what `cache_folder` says.
        download: whether TFDS may prepare a set that is not there.

    Returns:
        A `Dataset` of numpy arrays.

    Raises:
        ValueError: there is no set of that name.
        DataError: the set is missing or damaged, and could not be prepared.

    Example:
        >>> digits = load("digits")
        >>> digits.train["image"].shape, digits.test["label"].shape
        ((1437, 8, 8, 1), (360,))
    """
    one_of("name", name, _NAMES)
    if name == "digits":
        return _dataset(name, _digits())
    named = data_dir or os.environ.get("TFDS_DATA_DIR")
    root = Path(named or _TFDS).expanduser()
    cache = cache_folder(cache_dir) / f"{name}.npz"
    folder = prepared.find(root, name)
    if folder or not named:
        source = prepared.fingerprint(folder) if folder else None
        if (arrays := _read_cache(cache, source)) is not None:
            return _dataset(name, arrays)
    if folder is None and not download:
        raise DataError(f"{name}: not prepared under {root / name}")
    folder = folder or prepared.prepare(name, root)
    arrays = prepared.decode(folder)
    try:
        write_npz(cache, {**arrays, "source": np.array(prepared.fingerprint(folder))})
    except OSError as error:
        warnings.warn(
            f"{cache}: cannot be written ({error}), so {name} will be decoded again next time;"
            " set AEB_CACHE_DIR or cache_dir to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
    return _dataset(name, arrays)


def locate(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path | None:
    """Return what `load` would read, without reading it.

    Args:
        name: as in `load`.
        data_dir: as in `load`.
        cache_dir: as in `load`.

    Returns:
        The folder that TFDS prepared, or else the file that was decoded before; None if there is
        neither, so that `load` would have TFDS prepare the set.

    Raises:
        ValueError: there is no set of that name.

    Example:
        >>> locate("digits").name
        'digits.npz'
    """
    one_of("name", name, _NAMES)
    if name == "digits":
        return _DIGITS
    named = data_dir or os.environ.get("TFDS_DATA_DIR")
    folder = prepared.find(Path(named or _TFDS).expanduser(), name)
    cache = cache_folder(cache_dir) / f"{name}.npz"
    return folder or (cache if not named and cache.exists() else None)


def _dataset(name: str, arrays: dict[str, np.ndarray]) -> Dataset:
    train, test = (
        {"image": arrays[f"{split}_image"], "label": arrays[f"{split}_label"]}
        for split in ("train", "test")
    )
    return Dataset(train, test, _NUM_CLASSES, name)


def _read_cache(path: Path, source: str | None) -> dict[str, np.ndarray] | None:
    """Read a cache made from `source` (any, if None); None where there is none that is sound."""
    if not path.exists():
        return None
    try:
        arrays = read_npz(path)
        missing = [key for key in (*_ARRAYS, "source") if key not in arrays]
        if missing:
            raise DataError(f"{path}: no array {missing[0]!r}")
    except DataError as error:
        warnings.warn(f"cache: {error}; it will be made anew", RuntimeWarning, stacklevel=3)
        return None
    if source is not None and str(arrays["source"]) != source:
        return None
    return arrays


def _digits() -> dict[str, np.ndarray]:
    """Split the digits: the last 36 of each class, in the order of the file, are the test set.

    The file follows its writers, so the test images come from writers seen little in training.
    """
    arrays = read_npz(_DIGITS)
    image, label = arrays["image"], arrays["label"].astype(np.int32)
    test = np.zeros(label.shape, bool)
    for digit in range(_NUM_CLASSES):
        test[np.flatnonzero(label == digit)[-_DIGITS_TEST_PER_CLASS:]] = True
    return {
        "train_image": image[~test],
        "train_label": label[~test],
        "test_image": image[test],
        "test_label": label[test],
    }
