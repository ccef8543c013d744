# SPDX-License-Identifier: Apache-2.0
"""Read the user's rows: an npz file, a folder that TFDS prepared, or a named image set.

inputs     `image`, `x` or `features`    [n, ...]
targets    `label`, `y` or `target`      [n] whole numbers from 0 on for classes,
                                         [n] or [n, outputs] real numbers for a regression
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from aeb import data
from aeb.data import prepared
from aeb.data.files import DataError, read_npz
from aeb.guards import some
from aeb.usage import UsageError

__all__ = ["SETS", "Rows", "read_rows"]

SETS = ("digits", "mnist", "fashion_mnist", "cifar10")
"""Image sets that have a name."""

INPUTS = ("image", "x", "features")
TARGETS = ("label", "y", "target")


class Rows(NamedTuple):
    """Inputs and targets, and where they come from."""

    inputs: np.ndarray
    targets: np.ndarray
    source: str

    @property
    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows in the form for `aeb.compress`."""
        return self.inputs, self.targets

    def __str__(self) -> str:
        parts = (f"{part.dtype}{list(part.shape)}" for part in self.pair)
        return f"{self.source}: {' -> '.join(parts)}"


def read_rows(option: str, place: str, split: str, limit: int | None = None) -> Rows:
    """Read inputs and targets.

    Args:
        option: the option of the command line, `data` or `test`, for messages.
        place: a file, a folder or a name from `SETS`.
        split: `train` or `test`, for a folder or a named set.
        limit: how many of the first rows to read; None for all.

    Returns:
        `Rows`. 64-bit numbers become 32-bit, as in JAX.

    Raises:
        UsageError: the place does not exist, arrays are missing, or they do not fit each other.
    """
    path = Path(place).expanduser()
    try:
        if place in SETS and not path.exists():
            arrays = getattr(data.load(place), split)
            source, chosen = f"{place}, {split}", ("image", "label")
        elif path.is_dir():
            arrays = _read_prepared(option, path, split, limit)
            source, chosen = f"{path}, {split}", ("inputs", "targets")
        elif path.is_file():
            arrays = read_npz(path)
            chosen = (_chosen(option, path, arrays, INPUTS), _chosen(option, path, arrays, TARGETS))
            source = f"{path}, {chosen[0]} and {chosen[1]}"
        else:
            raise UsageError(
                f"--{option}: there is no {place!r}; needs an .npz file, a folder that TFDS "
                f"prepared, or one of {', '.join(SETS)}"
            )
    except DataError as error:
        raise UsageError(f"--{option}: {error}") from error
    inputs, targets = (_narrowed(arrays[name][:limit]) for name in chosen)
    _check(option, source, chosen, inputs, targets)
    return Rows(inputs, targets, source)


def _chosen(option: str, path: Path, names: Collection[str], wanted: tuple[str, ...]) -> str:
    """Return the one array name that exists."""
    found = [name for name in wanted if name in names]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"--{option}: {path} has {' and '.join(found)}; leave one of them")
    raise UsageError(
        f"--{option}: {path} has {some(sorted(names), 6) or 'no array'}; needs one of "
        f"{', '.join(INPUTS)} for the inputs and one of {', '.join(TARGETS)} for the targets"
    )


def _read_prepared(
    option: str, folder: Path, split: str, limit: int | None
) -> dict[str, np.ndarray]:
    """Decode one split of a folder that TFDS prepared, or of its newest version."""
    import tensorflow_datasets as tfds

    version = folder if (folder / "dataset_info.json").exists() else None
    version = version or prepared.find(folder.parent, folder.name)
    if version is None:
        raise UsageError(
            f"--{option}: {folder} has no dataset_info.json; needs to be a folder that TFDS "
            "prepared as array_record, NAME/VERSION"
        )
    try:
        builder = tfds.builder_from_directory(str(version))
        if split not in builder.info.splits:
            raise UsageError(
                f"--{option}: {version} has the splits {', '.join(builder.info.splits)} and no "
                f"{split!r}"
            )
        source = builder.as_data_source(split)
        features = list(builder.info.features)
        names = [_chosen(option, version, features, wanted) for wanted in (INPUTS, TARGETS)]
        size = len(source) if limit is None else min(limit, len(source))
        # disable=None: no bar unless stderr is a terminal
        rows = [source[at] for at in tqdm(range(size), desc=f"decode {split}", disable=None)]
    except prepared.damage() as error:
        raise UsageError(f"--{option}: {version} cannot be read: {error}") from error
    return {
        part: np.stack([np.asarray(row[name]) for row in rows])
        for part, name in zip(("inputs", "targets"), names, strict=True)
    }


def _narrowed(array: np.ndarray) -> np.ndarray:
    narrow: dict[str, Any] = {"float64": np.float32, "int64": np.int32, "uint64": np.uint32}
    return array.astype(narrow.get(array.dtype.name, array.dtype), copy=False)


def _check(
    option: str, source: str, names: tuple[str, str], inputs: np.ndarray, targets: np.ndarray
) -> None:
    """Check that inputs and targets fit each other. Later checks compare them with the network."""
    where = f"--{option}: in {source}"
    for name, array in zip(names, (inputs, targets), strict=True):
        if array.dtype.kind not in "biuf":
            raise UsageError(f"{where}, {name} is {array.dtype}; needs to be numbers")
        if not array.ndim or not len(array):
            raise UsageError(f"{where}, {name} has shape {list(array.shape)}; needs rows")
        bad = int(np.count_nonzero(~np.isfinite(array))) if array.dtype.kind == "f" else 0
        if bad:
            raise UsageError(f"{where}, {name} has {bad:,} values that are not finite")
    if len(inputs) != len(targets):
        raise UsageError(
            f"{where}, {names[0]} has {len(inputs):,} rows and {names[1]} {len(targets):,}"
        )
    if targets.dtype.kind in "iub" and targets.ndim == 2 and targets.shape[1] == 1:
        raise UsageError(
            f"{where}, {names[1]} has shape {list(targets.shape)}; classes need to be "
            f"[{len(targets)}]: save {names[1]}[:, 0]"
        )
