# SPDX-License-Identifier: Apache-2.0
"""Named arrays and a JSON header in one safetensors file that knows when it is damaged.

The file's metadata holds four strings: `aeb` (what the file is for), `version`, `header` (JSON),
and `sha256`, taken over the other three and over the name, dtype, shape and bytes of each array.
safetensors itself checks only that sizes add up; a flipped bit in a weight would pass unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from aeb.files.atomic import replacing

__all__ = ["DamagedFileError", "device_array", "host_array", "read_archive", "write_archive"]

VERSION = 1
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
    """A file of ours that is cut short or changed."""


def host_array(argument: str, path: str, leaf: Any) -> np.ndarray:
    """Fetch a leaf as a numpy array in C order and native byte order.

    Args:
        argument: the caller's name for the tree, for the message.
        path: the leaf's path in it.
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
        argument: the caller's name for where the array is from, for the message.
        path: the leaf's path.
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
    """Write a file, whole or not at all.

    Args:
        path: the file; one that is there is replaced.
        kind: what the file is for, `sparse` or `checkpoint`.
        arrays: name to array, as `host_array` returns them.
        header: what JSON can hold.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: there is no folder {path.parent}; make it first")
    text = json.dumps(header, allow_nan=False)
    metadata = {
        "aeb": kind,
        "version": str(VERSION),
        "header": text,
        "sha256": _digest([kind, str(VERSION), text], arrays),
    }
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
        FileNotFoundError: there is no such file.
        DamagedFileError: the file is cut short or changed, or is no safetensors file.
        ValueError: the file is whole but not of this kind, or from a later version of aeb.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {path}")
    content = path.read_bytes()
    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise DamagedFileError(f"{path} is damaged, or no safetensors file: {error}") from error
    # safetensors has checked this length and this JSON just now.
    header_end = 8 + int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8:header_end]).get("__metadata__", {})
    if metadata.get("aeb") != kind:
        found = f"an aeb file of kind {metadata['aeb']!r}" if "aeb" in metadata else "not from aeb"
        raise ValueError(f"{path} is {found}; this function reads aeb files of kind {kind!r}")
    version = metadata.get("version", "")
    if not version.isdecimal():
        raise DamagedFileError(f"{path} is damaged: its version is {version!r}")
    if int(version) > VERSION:
        raise ValueError(
            f"{path} has format version {version}; this aeb reads up to {VERSION}: upgrade aeb"
        )
    try:
        arrays = {
            name: np.frombuffer(entry["data"], DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in entries
        }
        header = json.loads(metadata["header"])
    except (KeyError, ValueError) as error:
        raise DamagedFileError(f"{path} is damaged: its header does not read") from error
    if _digest([kind, version, metadata["header"]], arrays) != metadata.get("sha256"):
        raise DamagedFileError(f"{path} is damaged: its content does not match its checksum")
    return arrays, header


def _digest(words: list[str], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(words).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
