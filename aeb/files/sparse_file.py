# SPDX-License-Identifier: Apache-2.0
"""The compressed model on disk: one safetensors file, a bit per weight and the weights kept.

A leaf of n values, k of them kept, is stored in the smaller of two forms:

    dense     `dense:PATH`    the array
    bitmask   `mask:PATH`     u8[ceil(n / 8)]: bit i says whether value i is kept, in C order, the
                              first value in the highest bit of the first byte, the rest 0
              `values:PATH`   [k]: the values kept, in the same order

A value is kept where any of its bits is set, so the round trip is exact to the bit: nan,
infinities and negative zeros come back. (Multiplying weights by a mask leaves negative zeros, which
take room; `jnp.where(mask, weight, 0)` does not.) The header lists path, keys, shape, dtype and
encoding of each leaf, and the user's metadata; a checksum covers everything (see
`aeb.files.archive`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import GetAttrKey

from aeb.files.archive import (
    DamagedFileError,
    device_array,
    host_array,
    read_archive,
    write_archive,
)
from aeb.files.report import SparsityReport, kept_bits, sparsity_report, stored_bytes
from aeb.tree import named_leaves, replace_leaves
from aeb.types import ArrayTree

__all__ = ["SparseFileInfo", "inspect_sparse", "load_sparse", "save_sparse"]


class SparseFileInfo(NamedTuple):
    """What a sparse file holds; `str` prints it."""

    report: SparsityReport
    metadata: dict[str, Any]
    file_bytes: int  # of the whole file, header included

    def __str__(self) -> str:
        metadata = [f"{key}: {json.dumps(value)}" for key, value in self.metadata.items()]
        return "\n".join([*metadata, f"file: {self.file_bytes:,} bytes", "", str(self.report)])


def save_sparse(
    path: str | os.PathLike[str],
    params: ArrayTree,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a sparse model to a file, exactly and atomically.

    Batch statistics go beside the parameters: `{"params": params, "batch_stats": batch_stats}`.

    Args:
        path: the file; the folder must be there, a file that is there is replaced in one step.
        params: a tree of arrays: plain, linen, nnx, or a bare array.
        metadata: what to remember with them: names and anything that JSON can hold.

    Raises:
        FileNotFoundError: the folder is not there.
        TypeError: a leaf is not an array of numbers, or is a typed PRNG key; or JSON cannot hold
            the metadata.
        ValueError: the tree holds no array.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = folder.name + "/model.safetensors"
        >>> save_sparse(path, {"dense": {"kernel": jnp.eye(64)}}, metadata={"step": 100})
        >>> params, metadata = load_sparse(path)
        >>> print(jnp.sum(params["dense"]["kernel"]), metadata)
        64.0 {'step': 100}
        >>> inspect_sparse(path).report.sparse_bytes
        768
        >>> folder.cleanup()
    """
    named = {path: host_array("params", path, leaf) for path, leaf in named_leaves(params).items()}
    if not named:
        raise ValueError("params: the tree holds no array; pass the parameters of the model")
    try:
        json.dumps(dict(metadata or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata: JSON cannot hold it: {error}") from error
    entries = jax.tree_util.tree_flatten_with_path(params)[0]
    tensors: dict[str, np.ndarray] = {}
    leaves = []
    for (name, array), (keys, _) in zip(named.items(), entries, strict=True):
        kept = kept_bits(array)
        size, itemsize = array.size, array.dtype.itemsize
        smaller = stored_bytes(size, int(np.count_nonzero(kept)), itemsize) < array.nbytes
        if smaller:
            tensors[f"mask:{name}"] = np.packbits(kept)
            tensors[f"values:{name}"] = array.reshape(-1)[kept]
        else:
            tensors[f"dense:{name}"] = array
        leaves.append(
            {
                "path": name,
                "keys": _plain_keys(keys),
                "shape": array.shape,
                "dtype": array.dtype.name,
                "encoding": "bitmask" if smaller else "dense",
            }
        )
    write_archive(
        Path(path), "sparse", tensors, {"metadata": dict(metadata or {}), "leaves": leaves}
    )


def load_sparse(
    path: str | os.PathLike[str], *, like: ArrayTree | None = None
) -> tuple[ArrayTree, dict[str, Any]]:
    """Read a sparse model back, dense and exact to the bit.

    Args:
        path: a file made by `save_sparse`.
        like: a tree with the same paths, shapes and dtypes, of arrays or of
            `jax.ShapeDtypeStruct`, whose structure the result takes. Without it the result is
            nested dicts: lists and tuples become dicts with the positions as keys, an nnx state
            the dict of `to_pure_dict`, and empty subtrees are gone; a bare array stays one.

    Returns:
        The parameters, as jax arrays, and the metadata.

    Raises:
        FileNotFoundError: there is no such file.
        aeb.files.archive.DamagedFileError: the file is cut short or changed (a ValueError).
        ValueError: the file is of another kind, or from a later version of aeb; its leaves are
            not those of `like`; or it holds 64-bit numbers and x64 is off.

    Example:
        See `save_sparse`.
    """
    leaves, metadata = _read(Path(path))
    arrays = {leaf.path: device_array("path", leaf.path, leaf.array) for leaf in leaves}
    if like is None:
        return _nested((leaf.keys, arrays[leaf.path]) for leaf in leaves), metadata
    _check_like(like, arrays, path)
    return replace_leaves(like, arrays), metadata


def inspect_sparse(path: str | os.PathLike[str]) -> SparseFileInfo:
    """Say what a sparse file holds, without the model that it came from.

    Args:
        path: a file made by `save_sparse`.

    Returns:
        A `SparseFileInfo`: the sparsity report, its leaves by path, the metadata, and the size.

    Raises:
        FileNotFoundError: there is no such file.
        aeb.files.archive.DamagedFileError: the file is cut short or changed (a ValueError).
        ValueError: the file is of another kind, or from a later version of aeb.

    Example:
        See `save_sparse`.
    """
    leaves, metadata = _read(Path(path))
    report = sparsity_report({leaf.path: leaf.array for leaf in leaves})
    return SparseFileInfo(report, metadata, Path(path).stat().st_size)


class _Leaf(NamedTuple):
    path: str
    keys: list[str | int]
    array: np.ndarray


def _read(path: Path) -> tuple[list[_Leaf], dict[str, Any]]:
    tensors, header = read_archive(path, "sparse")
    leaves = [
        _Leaf(row["path"], row["keys"], _decode(path, row, tensors)) for row in header["leaves"]
    ]
    return leaves, header["metadata"]


def _decode(path: Path, row: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    name, shape, dtype = row["path"], tuple(row["shape"]), np.dtype(row["dtype"])
    size = math.prod(shape)
    parts = ("mask", "values") if row["encoding"] == "bitmask" else ("dense",)
    missing = [part for part in parts if f"{part}:{name}" not in tensors]
    if missing:
        raise DamagedFileError(f"{path} is damaged: it lacks the tensor {missing[0]}:{name}")
    stored = tensors[f"{parts[-1]}:{name}"]
    if stored.dtype != dtype:
        raise DamagedFileError(f"{path} is damaged: {name!r} is {stored.dtype}, not {dtype}")
    if parts == ("dense",):
        if stored.shape != shape:
            raise DamagedFileError(f"{path} is damaged: {name!r} is {stored.shape}, not {shape}")
        return stored
    mask = tensors[f"mask:{name}"]
    if mask.dtype != np.uint8 or mask.shape != (-(-size // 8),):
        raise DamagedFileError(f"{path} is damaged: the mask of {name!r} does not have {size} bits")
    bits = np.unpackbits(mask).astype(bool)
    if stored.shape != (np.count_nonzero(bits),) or bits[size:].any():
        raise DamagedFileError(
            f"{path} is damaged: the mask of {name!r} keeps {np.count_nonzero(bits)} values, "
            f"the file has {stored.size}"
        )
    flat = np.zeros(size, dtype)
    flat[bits[:size]] = stored
    return flat.reshape(shape)


def _plain_keys(keys: tuple[Any, ...]) -> list[str | int]:
    """Turn a jax key path into strings and integers, without the `value` that nnx ends it in."""
    if keys and keys[-1] == GetAttrKey("value"):
        keys = keys[:-1]
    plain = [getattr(key, "key", getattr(key, "idx", None)) for key in keys]
    return [
        entry if type(entry) is int else jax.tree_util.keystr((key,), simple=True)
        for entry, key in zip(plain, keys, strict=True)
    ]


def _nested(leaves: Iterable[tuple[list[str | int], jax.Array]]) -> ArrayTree:
    tree: dict[str | int, Any] = {}
    for keys, array in leaves:
        if not keys:
            return array
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = array
    return tree


def _check_like(like: ArrayTree, arrays: Mapping[str, jax.Array], path: Any) -> None:
    wanted = named_leaves(like)
    for name in [*wanted, *arrays]:
        if name not in arrays or name not in wanted:
            where = f"not in {path}" if name not in arrays else f"only in {path}"
            raise ValueError(f"like: leaf {name!r} is {where}; needs to be the tree that was saved")
    for name, leaf in wanted.items():
        given = (getattr(leaf, "shape", None), str(getattr(leaf, "dtype", type(leaf).__name__)))
        held = (arrays[name].shape, str(arrays[name].dtype))
        if given != held:
            raise ValueError(f"like: leaf {name!r} is {given}, in {path} it is {held}")
