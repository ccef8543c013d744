# SPDX-License-Identifier: Apache-2.0
"""Read and write .npz files.

Whatever is missing or damaged raises one error, `DataError`. Each array in a file has a checksum,
so reading it finds any damage. A write replaces the whole file or nothing.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aeb.files.atomic import replacing

__all__ = ["DataError", "cache_folder", "read_npz", "write_npz"]


class DataError(RuntimeError):
    """Data are missing or damaged; the message names the file or folder and what to do about it.

    Example:
        >>> read_npz("nowhere.npz")
        Traceback (most recent call last):
        aeb.data.files.DataError: nowhere.npz: no such file
    """


# What zipfile, zlib and numpy raise on damaged bytes.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read every array of an .npz file, checking each against its checksum.

    Args:
        path: the file.

    Returns:
        A dict from name to array.

    Raises:
        DataError: the file is missing, is no .npz file or is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_npz(f"{folder}/a.npz", {"x": np.arange(3)})
        ...     read_npz(f"{folder}/a.npz")["x"].tolist()
        [0, 1, 2]
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            # numpy reads as far as the shape in the header says, perhaps short of the checksum.
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} does not match its checksum")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged or not an .npz file: {error}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands other members over as bytes
            raise DataError(f"{path}: not an .npz file: {name!r} is no array")
    return arrays


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an .npz file, all or nothing. Its folder is made if there is none.

    Args:
        path: the file; an old one is replaced only by a complete new one.
        arrays: a dict from name to array.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; nothing is left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_npz(f"{folder}/deep/a.npz", {"x": np.zeros(2)})
        ...     sorted(p.name for p in Path(folder, "deep").iterdir())
        ['a.npz']
    """
    path, named = Path(path), dict[str, Any](arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, **named)


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in which decoded sets are kept.

    Args:
        cache_dir: the folder; None takes `$AEB_CACHE_DIR`, else `$XDG_CACHE_HOME/aeb`, else
            `~/.cache/aeb`.

    Returns:
        The folder, which need not exist.

    Example:
        >>> cache_folder("scratch").name
        'scratch'
    """
    if chosen := cache_dir or os.environ.get("AEB_CACHE_DIR"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "aeb"
