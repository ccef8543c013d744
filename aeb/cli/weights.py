# SPDX-License-Identifier: Apache-2.0
"""Read trained weights from a file into a network.

A file of any format is read as a flat dict from path to array. The weights of the network are then
looked for under one prefix. A checkpoint of a whole training state holds them under `position` or
`params`. It may also hold the moments of an optimizer under the same names and with the same
shapes; these are ignored.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aeb.files import checkpoint, load_sparse
from aeb.files.archive import DamagedFileError, read_archive
from aeb.guards import some
from aeb.tree import named_leaves, path_of, replace_leaves
from aeb.types import ArrayTree
from aeb.usage import UsageError

__all__ = ["fill", "place", "read_weights"]

FORMATS = (
    "a sparse file or a checkpoint of aeb, or a .safetensors, .msgpack or .npz file of your own"
)

SUFFIXES = (".npz", ".msgpack", ".flax", ".safetensors")

HOMES = ("", "params", "position", "model_state")
"""The last words of the prefixes under which a training state holds a network."""


def read_weights(path: Path, given: str = "--params") -> dict[str, np.ndarray]:
    """Read the arrays of a file by path, with keys joined by `/`.

    Args:
        path: a sparse file, a checkpoint or its folder, or a safetensors, msgpack or npz file.
        given: what the user calls it, for messages.

    Returns:
        A dict from path to array.

    Raises:
        UsageError: the file does not exist, or cannot be read.
    """
    path = path.expanduser()
    if path.is_dir():
        step = checkpoint.latest_step(path)
        if step is None and (kept := _orbax(path)) is not None:
            raise UsageError(
                f"{given}: {path} is a checkpoint of orbax, which is not read here. Convert it in "
                "Python: import flax.serialization as fs, orbax.checkpoint as ocp, pathlib; "
                f"tree = ocp.StandardCheckpointer().restore({str(kept.absolute())!r}); "
                'pathlib.Path("weights.msgpack").write_bytes(fs.msgpack_serialize(tree)). Then '
                "give weights.msgpack"
            )
        if step is None:
            inside = sorted(file.name for file in path.iterdir())
            raise UsageError(
                f"{given}: {path} holds no checkpoint of aeb, but {some(inside) or 'nothing'}; "
                f"needs {FORMATS}"
            )
        path = path / f"step_{step:012d}.safetensors"
    if not path.is_file():
        raise UsageError(f"{given}: there is no file {path}; needs {FORMATS}")
    try:
        arrays = {name: np.asarray(x) for name, x in _read(path, given).items()}
    except (DamagedFileError, OSError, ValueError, TypeError) as error:
        raise UsageError(f"{given}: {path} does not read as {_format(path)}: {error}") from error
    if all(name.endswith("/value") for name in arrays):  # orbax and NNX
        return {name.removesuffix("/value"): x for name, x in arrays.items()}
    return arrays


def place(
    arrays: Mapping[str, np.ndarray], like: ArrayTree, what: str, given: str = "--params"
) -> ArrayTree:
    """Put arrays into the tree of a network.

    Args:
        arrays: a dict from path to array.
        like: a tree of arrays or of `jax.ShapeDtypeStruct`.
        what: a name for the tree, for messages.
        given: what the user calls the file, for messages.

    Returns:
        A tree of the same structure.

    Raises:
        UsageError: arrays are missing, are of other shapes, or could be taken from two places.
    """
    wanted = named_leaves(like)
    if not wanted:
        return like
    prefix = _prefix(arrays, wanted, what, given)
    found = {path: arrays[prefix + path] for path in wanted}
    for path, leaf in wanted.items():
        if found[path].shape != leaf.shape:
            raise UsageError(
                f"{given}: {prefix + path} is {list(found[path].shape)}, and --model has "
                f"{list(leaf.shape)} there; was it trained with other settings?"
            )
    return replace_leaves(like, {path: jax.numpy.asarray(x) for path, x in found.items()})


def fill(module: Any, arrays: Mapping[str, np.ndarray], given: str = "--params") -> None:
    """Put arrays into an NNX module: its weights and its moments, not its random streams.

    Args:
        module: the module; it is changed.
        arrays: a dict from path to array.
        given: what the user calls the file, for messages.

    Raises:
        UsageError: as `place`.
    """
    from flax import nnx

    _, params, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
    nnx.update(module, place(arrays, params, "weights", given))
    nnx.update(module, place(arrays, rest, "moments", given))


def _orbax(folder: Path) -> Path | None:
    """Return the folder with the arrays of a checkpoint of orbax, of its newest step if several."""
    marks = ("_METADATA", "manifest.ocdbt")
    steps = [place for place in folder.iterdir() if place.is_dir() and place.name.isdigit()]
    steps.sort(key=lambda place: int(place.name), reverse=True)
    for place in (folder, *steps):
        # A step of a manager keeps each item in a folder of its own.
        inside = sorted(item for item in place.iterdir() if item.is_dir())
        for kept in (place, *inside):
            if any((kept / mark).exists() for mark in marks):
                return kept
    return None


def _read(path: Path, given: str) -> Mapping[str, Any]:
    kind = _format(path)
    if kind == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return _slashed({name: archive[name] for name in archive.files})
    if kind in (".msgpack", ".flax"):
        from flax.serialization import msgpack_restore

        return _flat(msgpack_restore(path.read_bytes()))
    if kind == ".safetensors":
        return _read_safetensors(path)
    raise UsageError(f"{given}: {path} is of no format that is known; needs {FORMATS}")


def _format(path: Path) -> str:
    """Return the suffix of a file. If it is unknown, guess the format from the content."""
    if path.suffix in SUFFIXES:
        return path.suffix
    with path.open("rb") as file:
        if file.read(9)[8:] == b"{":  # after the length of the header
            return ".safetensors"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if all(name.endswith(".npy") for name in archive.namelist()):
                return ".npz"
    return path.suffix


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    import safetensors
    from safetensors.flax import load_file

    try:
        with safetensors.safe_open(path, "numpy") as file:
            about = (file.metadata() or {}).get("aeb", "")
    except safetensors.SafetensorError as error:
        raise DamagedFileError(str(error)) from error
    if not about:
        return _slashed(load_file(path))
    if about == "checkpoint" or '"kind": "checkpoint"' in about:
        return read_archive(path, "checkpoint")[0]
    return _flat(load_sparse(path)[0])


def _slashed(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Convert paths like `layer.kernel`, from other libraries, to our notation."""
    return {name.replace(".", "/"): array for name, array in arrays.items()}


def _flat(tree: Any) -> dict[str, Any]:
    """List the arrays of a tree, with all keys in their paths."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {path_of(keys): leaf for keys, leaf in flat if hasattr(leaf, "shape")}


def _prefix(arrays: Mapping[str, Any], wanted: Mapping[str, Any], what: str, given: str) -> str:
    """Find the prefix that the paths of the network have in the file."""
    first = next(iter(wanted))
    ends = [path for path in arrays if path == first or path.endswith(f"/{first}")]
    whole = [
        path.removesuffix(first)
        for path in ends
        if all(path.removesuffix(first) + name in arrays for name in wanted)
    ]
    homes = [prefix for prefix in whole if prefix.rstrip("/").rsplit("/", 1)[-1] in HOMES]
    if homes:
        return min(homes, key=len)
    if len(whole) == 1:
        return whole[0]
    if whole:
        places = some([prefix.rstrip("/") for prefix in whole])
        raise UsageError(
            f"{given}: the file has the {what} of --model in {len(whole)} places, {places}; save "
            "one of them alone"
        )
    missing = [name for name in wanted if not any(path.endswith(name) for path in arrays)]
    raise UsageError(
        f"{given}: of the {len(wanted)} {what} of --model, {len(missing)} are not in the file "
        f"({some(missing or list(wanted))}); it has {some(list(arrays), 4)}"
    )
