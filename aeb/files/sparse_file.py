# SPDX-License-Identifier: Apache-2.0
"""A sparse model on disk: one safetensors file with a bit per weight and the weights kept.

A leaf of n values, k of them kept, is stored in the smaller of two forms:

    dense     `dense:PATH`    the array
    bitmask   `mask:PATH`     u8[ceil(n / 8)]: bit i says whether value i is kept, in C order, the
                              first value in the highest bit of the first byte, the rest 0
              `values:PATH`   [k]: the values kept, in the same order

A value is kept if any of its bits is set, so the round trip is exact to the bit, also for nan,
infinities and negative zeros. (Multiplying weights by a mask leaves negative zeros, which take
room; `jnp.where(mask, weight, 0)` does not.) The header lists the path, keys, shape, dtype and
encoding of each leaf, and whether it is a statistic (see `aeb.tree`). It also holds the user's
metadata and, if given, the module that the weights belong to (see `aeb.files.module`). A checksum
covers everything, and equal content makes equal bytes (see `aeb.files.archive`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aeb.files.archive import (
    DamagedFileError,
    device_array,
    host_array,
    read_archive,
    write_archive,
)
from aeb.files.module import build_module, describe_module, is_nnx
from aeb.files.report import SparsityReport, kept_bits, sparsity_report, stored_bytes
from aeb.tree import keyed_leaves, named_leaves, path_of, replace_leaves, statistics
from aeb.types import ArrayTree

__all__ = ["Model", "SparseFileInfo", "inspect_sparse", "load", "load_sparse", "save_sparse"]


class Model(NamedTuple):
    """A network read from a file; call it as `model(inputs)`.

    Example:
        >>> import tempfile
        >>> import jax, jax.numpy as jnp
        >>> from aeb.models import MLP
        >>> from aeb.files import load, save_sparse
        >>> net, inputs = MLP(hidden=(4,)), jnp.ones((2, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     variables = net.init(jax.random.key(0), inputs)
        ...     save_sparse(f"{folder}/net.safetensors", variables, module=net)
        ...     model = load(f"{folder}/net.safetensors")
        >>> model(inputs).shape, type(model.module).__name__
        ((2, 1), 'MLP')
    """

    module: Any  # a flax.linen.Module; or a flax.nnx.Module with its weights, in evaluation mode
    variables: dict[str, Any]  # {"params": ...} and the other collections; for nnx its pure dict
    metadata: dict[str, Any]  # what was stored beside them

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Apply the module to inputs; options are those of `flax.linen.Module.apply`."""
        if not hasattr(self.module, "apply"):
            return self.module(*inputs, **options)
        return self.module.apply(self.variables, *inputs, **options)

    def __repr__(self) -> str:
        params: Any = self.variables
        if not hasattr(self.module, "apply"):
            from flax import nnx

            # The dict does not tell weights from running moments; the module does.
            params = nnx.state(self.module, nnx.Param)
        return (
            f"Model({type(self.module).__name__}, {sparsity_report(params)!r}, "
            f"metadata={self.metadata})"
        )


class SparseFileInfo(NamedTuple):
    """What a sparse file holds; `str` prints it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sparse(f"{folder}/net.safetensors", {"kernel": np.eye(8)})
        ...     info = inspect_sparse(f"{folder}/net.safetensors")
        >>> info.report
        SparsityReport(64 values in 1 leaves, 56 zeros, 87.50%)
    """

    report: SparsityReport
    metadata: dict[str, Any]
    file_bytes: int  # of the whole file, header included
    module: str | None = None  # class of the network, `package.module:Name`; None if not given

    def __str__(self) -> str:
        lines = [f"{key}: {json.dumps(value)}" for key, value in self.metadata.items()]
        if self.module:
            lines.append(f"module: {self.module}")
        return "\n".join([*lines, f"file: {self.file_bytes:,} bytes", "", str(self.report)])

    def __repr__(self) -> str:
        return f"SparseFileInfo({self.report!r}, {self.file_bytes:,} bytes, module={self.module})"


def save_sparse(
    path: str | os.PathLike[str],
    params: ArrayTree,
    *,
    metadata: Mapping[str, Any] | None = None,
    module: Any = None,
) -> None:
    """Write a sparse model to a file, exactly and atomically; equal content makes equal bytes.

    Put batch statistics beside the parameters: `{"params": params, "batch_stats": batch_stats}`.

    Args:
        path: the file. Its folder must exist; an existing file is replaced in one step.
        params: a tree of arrays: plain, linen, nnx, or a bare array.
        metadata: names and anything that JSON can hold, to store in the file.
        module: the module that the weights belong to, so that `aeb.load` needs nothing but the
            file: a linen module, or `functools.partial(Class, ...)` of an NNX module with the
            arguments it was made with, except `rngs`. The class must be importable, and the fields
            must be plain values.

    Raises:
        FileNotFoundError: the folder does not exist.
        TypeError: a leaf is not an array of numbers, or is a typed PRNG key; or a file cannot hold
            the metadata or a field of the module.
        ValueError: the tree holds no array, or the class of the module cannot be imported.

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
        json.dumps(dict(metadata or {}), allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata: JSON cannot hold it: {error}") from error
    header = {"metadata": dict(metadata or {})}
    if module is not None:
        header["module"] = describe_module(module)
    tensors: dict[str, np.ndarray] = {}
    leaves = []
    for (name, array), leaf in zip(named.items(), keyed_leaves(params), strict=True):
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
                "keys": _plain_keys(leaf.keys),
                "shape": array.shape,
                "dtype": array.dtype.name,
                "encoding": "bitmask" if smaller else "dense",
                "statistic": leaf.is_statistic,
            }
        )
    write_archive(Path(path), "sparse", tensors, header | {"leaves": leaves})


def load_sparse(
    path: str | os.PathLike[str], *, like: ArrayTree | None = None
) -> tuple[ArrayTree, dict[str, Any]]:
    """Return a saved sparse model, dense and exact to the bit.

    Args:
        path: a file made by `save_sparse`.
        like: a tree of arrays or of `jax.ShapeDtypeStruct` with the same paths, shapes and dtypes.
            The result takes its structure. Without it the result is nested dicts: lists and tuples
            become dicts with the positions as keys, an nnx state becomes the dict of
            `to_pure_dict`, empty subtrees are dropped, and a bare array stays one.

    Returns:
        The parameters, as jax arrays, and the metadata.

    Raises:
        FileNotFoundError: there is no such file.
        aeb.files.archive.DamagedFileError: the file is cut short or changed (a ValueError).
        ValueError: the file is of another kind, or from a later version of aeb; its leaves are
            not those of `like`; or it holds 64-bit numbers and x64 is off.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sparse(f"{folder}/net.safetensors", {"kernel": jnp.eye(3)})
        ...     params, metadata = load_sparse(f"{folder}/net.safetensors")
        >>> print(jnp.trace(params["kernel"]), metadata)
        3.0 {}
    """
    file = _read(Path(path))
    if like is None:
        return _tree(file), file.metadata
    arrays = {leaf.path: device_array("path", leaf.path, leaf.array) for leaf in file.leaves}
    _check_like(like, arrays, path)
    return replace_leaves(like, arrays), file.metadata


def load(path: str | os.PathLike[str]) -> Model:
    """Read a network from its file alone: the module, its variables, and the metadata.

    This imports the package that the file names, so it runs that package's code, as any import
    does. It calls nothing but the class of a Flax module, and a file holds no code of its own.

    Args:
        path: a file made by `save_sparse(path, variables, module=module)`.

    Returns:
        A `Model`; `model(inputs)` applies it. If only the parameters of a linen module were saved,
        the variables are `{"params": params}`.

    Raises:
        FileNotFoundError: there is no such file.
        aeb.files.archive.DamagedFileError: the file is cut short or changed (a ValueError).
        ValueError: the file was saved without its module; it names something that is not a Flax
            module; it holds leaves that the module does not have; or `load_sparse` refuses it.
        ImportError: the class of the module is not in the packages installed here.

    Example:
        >>> import tempfile
        >>> import jax, jax.numpy as jnp
        >>> from aeb.models import MLP
        >>> net = MLP(features=3)
        >>> inputs = jnp.ones((1, 4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = folder + "/model.safetensors"
        ...     save_sparse(path, net.init(jax.random.key(0), inputs), module=net)
        ...     model = load(path)
        >>> model.module == net, model(inputs).shape
        (True, (1, 3))
    """
    file = _read(Path(path))
    if file.module is None:
        raise ValueError(
            f"path: {path} does not say which module it belongs to; save it by "
            "aeb.save_sparse(path, variables, module=module), or read the weights by "
            "aeb.load_sparse"
        )
    module = build_module(file.module)
    tree = _tree(file)
    if is_nnx(file.module):
        _fill(module, file)
        return Model(module, tree, file.metadata)
    variables = tree if isinstance(tree, dict) and "params" in tree else {"params": tree}
    return Model(module, variables, file.metadata)


def inspect_sparse(path: str | os.PathLike[str]) -> SparseFileInfo:
    """Return what a sparse file holds, without the model that it came from.

    Args:
        path: a file made by `save_sparse`.

    Returns:
        A `SparseFileInfo` with the sparsity report, its leaves by path, the metadata, the size,
        and the class of the module if the file has it.

    Raises:
        FileNotFoundError: there is no such file.
        aeb.files.archive.DamagedFileError: the file is cut short or changed (a ValueError).
        ValueError: the file is of another kind, or from a later version of aeb.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sparse(f"{folder}/net.safetensors", {"kernel": jnp.eye(8)})
        ...     info = inspect_sparse(f"{folder}/net.safetensors")
        >>> info.report.sparsity, info.report.leaves[0].path, info.module
        (0.875, 'kernel', None)
    """
    file = _read(Path(path))
    counted = {leaf.path: leaf.array for leaf in file.leaves if not leaf.is_statistic}
    left = tuple(leaf.path for leaf in file.leaves if leaf.is_statistic)
    return SparseFileInfo(
        sparsity_report(counted)._replace(left=left),
        file.metadata,
        Path(path).stat().st_size,
        None if file.module is None else file.module["class"],
    )


class _Leaf(NamedTuple):
    path: str
    keys: list[str | int]
    array: np.ndarray
    is_statistic: bool


class _File(NamedTuple):
    leaves: list[_Leaf]
    metadata: dict[str, Any]
    module: dict[str, Any] | None


def _read(path: Path) -> _File:
    tensors, header = read_archive(path, "sparse")
    rows = header["leaves"]
    # Files of version 1 do not say which leaves are statistics; those of linen show by their path.
    known = statistics(_nested((row["keys"], row["path"]) for row in rows))
    leaves = [
        _Leaf(
            row["path"],
            row["keys"],
            _decode(path, row, tensors),
            row.get("statistic", row["path"] in known.values()),
        )
        for row in rows
    ]
    return _File(leaves, header["metadata"], header.get("module"))


def _fill(module: Any, file: _File) -> None:
    """Put the weights of a file into an NNX module, and set it to evaluation mode."""
    from flax import nnx

    state = nnx.state(module, nnx.Not(nnx.RngState))
    arrays = {leaf.path: device_array("path", leaf.path, leaf.array) for leaf in file.leaves}
    try:
        _check_like(state, arrays, "the file")
    except ValueError as error:
        raise ValueError(
            f"path: the weights do not fit the module that the file names ({error}); install the "
            "version it was saved with, or read the weights alone by aeb.load_sparse"
        ) from error
    nnx.update(module, replace_leaves(state, arrays))
    module.eval()


def _tree(file: _File) -> ArrayTree:
    return _nested((leaf.keys, device_array("path", leaf.path, leaf.array)) for leaf in file.leaves)


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
    """Turn a jax key path into strings and integers."""
    plain = [getattr(key, "key", getattr(key, "idx", None)) for key in keys]
    return [
        entry if type(entry) is int else path_of((key,))
        for entry, key in zip(plain, keys, strict=True)
    ]


def _nested(leaves: Iterable[tuple[list[str | int], Any]]) -> ArrayTree:
    tree: dict[str | int, Any] = {}
    for keys, array in leaves:
        if not keys:
            return array
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = array
    return tree


def _check_like(like: ArrayTree, arrays: Mapping[str, Any], path: Any) -> None:
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
