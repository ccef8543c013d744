# SPDX-License-Identifier: Apache-2.0
"""Image sets that TensorFlow Datasets (TFDS) prepared, read without TensorFlow.

A prepared set is a folder ROOT/NAME/VERSION with `dataset_info.json` and array_record files, which
TFDS reads as a random-access data source with Pillow alone. Downloading and preparing a set is
TFDS's own work, and needs TensorFlow and a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
from tqdm import tqdm

from aeb.data.files import DataError

__all__ = ["damage", "decode", "find", "fingerprint", "prepare"]


def find(root: Path, name: str) -> Path | None:
    """Find the newest prepared version of a set.

    Args:
        root: the folder of all prepared sets.
        name: the set.

    Returns:
        The folder of the version, or None where there is none.
    """

    def version(folder: Path) -> tuple[int, ...]:
        return tuple(int(part) for part in folder.name.split(".") if part.isdigit())

    folders = [info.parent for info in (root / name).glob("*/dataset_info.json")]
    return max(folders, key=version, default=None)


def fingerprint(folder: Path) -> str:
    """Tell one prepared set from another by its description: version, splits, sizes in bytes.

    Args:
        folder: what `find` returned.

    Returns:
        A SHA-256 in hexadecimal digits.
    """
    return hashlib.sha256((folder / "dataset_info.json").read_bytes()).hexdigest()


def prepare(name: str, root: Path) -> Path:
    """Let TFDS download and prepare a set.

    Args:
        name: the set.
        root: the folder of all prepared sets.

    Returns:
        The folder of the prepared version.

    Raises:
        DataError: TensorFlow is not installed, or TFDS failed.
    """
    missing = f"{name}: not prepared under {root / name}. "
    remedy = (
        "Put a set prepared by TFDS as array_record there, or name the folder that holds it by the"
        " argument data_dir or the environment variable TFDS_DATA_DIR; or, with a network, install"
        " tensorflow so that TFDS can download and prepare it."
    )
    # Asked first: TFDS would fetch the whole set, or retry for minutes, before it noticed.
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(f"{missing}TFDS cannot prepare it without TensorFlow. {remedy}")
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    failures = (
        *damage(),
        ImportError,
        AssertionError,
        tfds.download.DownloadError,
        NonMatchingChecksumError,
    )
    try:
        builder = tfds.builder(name, data_dir=str(root), file_format="array_record")
        builder.download_and_prepare()
    except failures as error:
        raise DataError(f"{missing}TFDS could not prepare it: {error}. {remedy}") from error
    return Path(builder.data_dir)


def decode(folder: Path) -> dict[str, np.ndarray]:
    """Decode both splits of a prepared set; about 0.3 ms an image.

    Args:
        folder: what `find` or `prepare` returned.

    Returns:
        `train_image` and `test_image` uint8[N, H, W, C], `train_label` and `test_label` int32[N].

    Raises:
        DataError: a file is missing, damaged or not array_record.
    """
    import tensorflow_datasets as tfds

    arrays = {}
    try:
        builder = tfds.builder_from_directory(str(folder))
        for split in ("train", "test"):
            source = builder.as_data_source(split)
            title = f"decode {builder.name} {split}"
            rows = [  # disable=None: no bar where nobody watches
                (row["image"], row["label"])
                for row in tqdm(source, desc=title, unit=" images", disable=None)
            ]
            arrays[f"{split}_image"] = np.stack([image for image, _ in rows])
            arrays[f"{split}_label"] = np.array([label for _, label in rows], np.int32)
    except damage() as error:
        raise DataError(
            f"{folder}: cannot be read: {error}. Each split must be there as complete array_record"
            " files; delete the folder and prepare the set again."
        ) from error
    return arrays


def damage() -> tuple[type[Exception], ...]:
    """List what TFDS, protobuf, array_record and Pillow raise on damaged or missing files."""
    # protobuf ships no types, and its stubs are no dependency of ours.
    from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    return OSError, RuntimeError, ValueError, KeyError, ParseError, DecodeError
