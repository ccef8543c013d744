# SPDX-License-Identifier: Apache-2.0
"""Store named arrays and a JSON header in one safetensors file, with a checksum.

The file's metadata has one entry, `aeb`: a checksum, a space, and JSON with what the file is for
(`kind`), the `version` of the format, and the caller's `header`. The checksum is a SHA-256 over
this JSON and over the name, dtype, shape and bytes of each array. safetensors itself checks only
that sizes add up, so a flipped bit in a weight would go unnoticed.

The same arrays and header give the same bytes: keys are sorted, and there is no time stamp. There
is only one entry, because safetensors writes several in an arbitrary order. Version 1 had four,
`aeb` (the kind), `version`, `header` and `sha256`, and can still be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from aeb.files.atomic import replacing
from aeb.guards import some

__all__ = ["DamagedFileError", "device_array", "host_array", "read_archive", "write_archive"]

VERSION = 2
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}


class DamagedFileError(ValueError):
    """One of our files was truncated or changed.

    Example:
        >>> import tempfile
        >>> from aeb.files import load_sparse, save_sparse
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "net.safetensors")
        ...     save_sparse(path, {"kernel": jnp.eye(3)})
        ...     _ = path.write_bytes(path.read_bytes()[:-1])
        ...     try:
        ...         load_sparse(path)
        ...     except DamagedFileError as error:
        ...         print(str(error).removeprefix(folder)[:28])
        /net.safetensors is damaged,
    """


def host_array(argument: str, path: str, leaf: Any) -> np.ndarray:
    """Fetch a leaf as a numpy array in C order and native byte order.

    Args:
        argument: the name of the tree, for messages.
        path: the path of the leaf in the tree.
        leaf: a jax or numpy array, or a numpy scalar.

    Returns:
        The same numbers, bit for bit.

    Raises:
        TypeError: the leaf is not an array of numbers that a file can hold.
    """
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"{argument}: leaf {path!r} is {type(leaf).__name__}, needs to be an array; "
            "wrap numbers in jnp.asarray and leave the rest out"
        )
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{argument}: leaf {path!r} is a typed PRNG key, needs to be an array of numbers; "
            "leave it out, or pass jax.random.key_data(key)"
        )
    if leaf.dtype.name not in DTYPES.values():
        raise TypeError(
            f"{argument}: leaf {path!r} has dtype {leaf.dtype}, which a file cannot hold; "
            "convert it to a standard float or integer type"
        )
    array = np.asarray(leaf, order="C")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def device_array(argument: str, path: str, array: np.ndarray) -> jax.Array:
    """Turn a numpy array into a jax array, bit for bit.

    Args:
        argument: the name of the source of the array, for messages.
        path: the path of the leaf.
        array: any array that a file can hold.

    Returns:
        The same numbers, not committed to a device.

    Raises:
        ValueError: the array has 64-bit numbers and x64 is off.
    """
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ValueError(
            f"{argument}: leaf {path!r} is {array.dtype}, which jax would cut to 32 bits; "
            "load it under jax.enable_x64(True)"
        )
    return jnp.array(array)


def write_archive(
    path: Path, kind: str, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]
) -> None:
    """Write a file atomically.

    Args:
        path: the file. An existing file is replaced.
        kind: what the file is for, `sparse` or `checkpoint`.
        arrays: a dict from name to array, as `host_array` returns them.
        header: values that fit into JSON.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: there is no folder {path.parent}; make it first")
    about = {"kind": kind, "version": VERSION, "header": header}
    text = json.dumps(about, allow_nan=False, sort_keys=True)
    metadata = {"aeb": f"{_digest(text, arrays)} {text}"}
    content = safetensors.numpy.save(dict(arrays), metadata)
    with replacing(path) as file:
        file.write(content)


def read_archive(path: Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file and check every bit of it.

    Args:
        path: the file.
        kind: what the file must be for.

    Returns:
        The arrays by name, and the header.

    Raises:
        FileNotFoundError: the file does not exist.
        IsADirectoryError: the path is a folder.
        DamagedFileError: the file was truncated or changed, or is not a safetensors file.
        ValueError: the file is complete but not of this kind, or from a later version of aeb.
    """
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.safetensors"))
        hint = f"it holds {some(inside)}" if inside else "and no .safetensors file is in it"
        raise IsADirectoryError(f"path: {path} is a folder, {hint}; name one file")
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {path}")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
        # Not through `safe_open`, which cannot read float8 into NumPy.
        entries = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise DamagedFileError(f"{path} is damaged, or no safetensors file: {error}") from error
    if "aeb" not in metadata:
        raise ValueError(f"{path} is not from aeb; this function reads aeb files of kind {kind!r}")
    try:
        about = _version_1(metadata) if "header" in metadata else _about(metadata["aeb"])
        arrays = {
            name: np.frombuffer(entry["data"], DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in entries
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{path} is damaged: its header does not read") from error
    if about.kind != kind:
        raise ValueError(
            f"{path} is an aeb file of kind {about.kind!r}; this function reads aeb files of kind "
            f"{kind!r}"
        )
    if about.version > VERSION:
        raise ValueError(
            f"{path} has format version {about.version}; this aeb reads up to {VERSION}: "
            "upgrade aeb"
        )
    if _digest(about.text, arrays) != about.checksum:
        raise DamagedFileError(f"{path} is damaged: its content does not match its checksum")
    return arrays, about.header


class _About(NamedTuple):
    """The metadata of a file."""

    checksum: str
    text: str  # what the checksum covers besides the arrays
    kind: str
    version: int
    header: dict[str, Any]


def _about(entry: str) -> _About:
    checksum, text = entry.split(" ", 1)
    about = json.loads(text)
    return _About(checksum, text, about["kind"], int(about["version"]), about["header"])


def _version_1(metadata: Mapping[str, str]) -> _About:
    kind, version, header = (metadata[name] for name in ("aeb", "version", "header"))
    text = json.dumps([kind, version, header])
    return _About(metadata["sha256"], text, kind, int(version), json.loads(header))


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
