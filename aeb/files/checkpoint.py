# SPDX-License-Identifier: Apache-2.0
"""Save and resume a run exactly: one file per saved step, `step_000000000100.safetensors`.

A restored tree is equal to the saved one to the bit. So a resumed chain is the chain that was never
stopped, as long as its keys and the order of its batches come from the saved tree too. If a save is
killed, the previous files stay as they were. A file that was damaged later is found by its
checksum, and the one before it is used.

Leaves are named by the paths of `aeb.tree`. Older files have paths in Python's notation,
`.position['kernel']`, and can still be read.

Why not orbax-checkpoint, which scales to many hosts? On restoring, 0.12.8 accepted flipped bits in
the weights, cast silently to the dtype of the template, and refused arrays of size 0. If an array
spans several hosts, use orbax; here every array must be readable from this process.
"""

from __future__ import annotations

import operator
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, SupportsIndex

import jax
import numpy as np

from aeb import guards
from aeb.files.archive import (
    DamagedFileError,
    device_array,
    host_array,
    read_archive,
    write_archive,
)
from aeb.files.atomic import leftovers
from aeb.tree import named_leaves
from aeb.types import ArrayTree

__all__ = ["discard_after", "latest_step", "restore", "save"]

PATHS = "a/b"
"""How the paths of a file are written, in its header."""


def save(
    folder: str | os.PathLike[str], step: SupportsIndex, tree: ArrayTree, *, keep_last: int = 2
) -> Path:
    """Write a checkpoint atomically, and delete all but the newest `keep_last`.

    Only one process may save into a folder at a time. On several hosts, let it be the one with
    `jax.process_index() == 0`.

    Args:
        folder: the folder for the checkpoints of this run; it is created if it does not exist.
        step: the number of steps taken, 0 or more; a checkpoint of the same step is replaced.
        tree: any tree of arrays, typed keys included, such as a `State` or `(state, key)`.
        keep_last: how many checkpoints to keep, at least 1.

    Returns:
        The path of the file.

    Raises:
        ValueError: the tree holds no array, `step` or `keep_last` is too small, or the folder
            holds a later step, and so the checkpoints of another run.
        TypeError: a leaf is not an array.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> folder = tempfile.TemporaryDirectory()
        >>> save(folder.name, 100, {"weight": jnp.ones(3), "key": jax.random.key(0)}).name
        'step_000000000100.safetensors'
        >>> like = {"weight": jnp.zeros(3), "key": jax.random.key(1)}
        >>> step, tree = restore(folder.name, like)
        >>> print(step, tree["weight"])
        100 [1. 1. 1.]
        >>> folder.cleanup()
    """
    step = operator.index(step)
    guards.at_least("step", step, 0)
    guards.at_least("keep_last", keep_last, 1)
    named = named_leaves(tree, "tree")
    leaves = {path: _to_host(path, leaf) for path, leaf in named.items()}
    if not leaves:
        raise ValueError("tree: it holds no array; pass the state of the run")
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    others = [other for other in _steps(folder) if other != step]
    if others and others[-1] > step:
        raise ValueError(
            f"step: got {step}, but {folder} holds step {others[-1]}, which is later; "
            "save into another folder, or delete the later files first"
        )
    for leftover in leftovers(folder, "step_*"):  # of a save that was killed
        leftover.unlink()
    path = _file(folder, step)
    rows = {name: _describe(leaf) for name, leaf in named.items()}
    write_archive(path, "checkpoint", leaves, {"leaves": rows, "paths": PATHS})
    for old in others[: max(0, len(others) - keep_last + 1)]:
        _file(folder, old).unlink()
    return path


def restore(
    folder: str | os.PathLike[str],
    like: ArrayTree | Callable[[int], ArrayTree],
    *,
    step: int | None = None,
) -> tuple[int, ArrayTree]:
    """Return the newest undamaged checkpoint, or that of a given step.

    Args:
        folder: the folder that `save` wrote to.
        like: a tree with the structure, shapes and dtypes of the saved one, such as a fresh
            `algorithm.init(params)` or its `jax.eval_shape`. Its values are not used. Restored
            arrays go to the devices to which its arrays are committed. If the shapes depend on the
            step, pass a function from the step to such a tree.
        step: the step to read; None for the newest. A warning names each damaged file that is
            skipped.

    Returns:
        The step, and a tree like `like`.

    Raises:
        FileNotFoundError: the folder holds no checkpoint, or not that step.
        aeb.files.archive.DamagedFileError: the checkpoint of `step` is damaged, or all of them are
            (a ValueError).
        ValueError: the checkpoint is of another tree.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for step in (100, 200):
        ...         _ = save(folder, step, {"weight": jnp.full(2, step / 100)})
        ...     newest = restore(folder, {"weight": jnp.zeros(2)})
        ...     first = restore(folder, {"weight": jnp.zeros(2)}, step=100)
        >>> print(newest[0], newest[1]["weight"], first[0], first[1]["weight"])
        200 [2. 2.] 100 [1. 1.]
    """
    folder = Path(folder).absolute()
    steps = _steps(folder)
    if not steps:
        raise FileNotFoundError(f"folder: {folder} holds no checkpoint; save one, or start afresh")
    if step is not None and step not in steps:
        raise FileNotFoundError(f"step: {folder} has no checkpoint of step {step}, only {steps}")
    for candidate in [step] if step is not None else reversed(steps):
        path = _file(folder, candidate)
        try:
            arrays, header = read_archive(path, "checkpoint")
        except DamagedFileError as error:
            if candidate == step:
                raise
            warnings.warn(f"passed over a checkpoint: {error}", stacklevel=2)
            continue
        tree = like(candidate) if isinstance(like, FunctionType | MethodType) else like
        current = header.get("paths") == PATHS
        wanted = named_leaves(tree, "like") if current else _python_paths(tree)
        return candidate, _rebuild(path, tree, wanted, arrays, header["leaves"])
    raise DamagedFileError(
        f"folder: every checkpoint in {folder} is damaged (steps {steps}); "
        "delete them and start afresh, or put back a copy"
    )


def discard_after(folder: str | os.PathLike[str], step: int) -> None:
    """Delete the checkpoints of later steps.

    A run that goes on from an older checkpoint, because newer ones are damaged, does this first.

    Args:
        folder: the folder that `save` writes to; it need not exist.
        step: the last step to keep.

    Example:
        >>> discard_after("no/such/folder", 0)
    """
    for later in _steps(Path(folder)):
        if later > step:
            _file(Path(folder).absolute(), later).unlink()


def latest_step(folder: str | os.PathLike[str]) -> int | None:
    """Return the newest step in a folder, without reading the file.

    Args:
        folder: the folder that `save` writes to; it need not exist.

    Returns:
        The step, or None if there is no checkpoint.

    Example:
        >>> latest_step("no/such/folder") is None
        True
    """
    return max(_steps(Path(folder)), default=None)


def _python_paths(tree: ArrayTree) -> dict[str, Any]:
    """Return the leaves by the paths that older files have."""
    entries = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(keys): leaf for keys, leaf in entries}


def _steps(folder: Path) -> list[int]:
    names = (
        re.fullmatch(r"step_(\d{12,})\.safetensors", path.name) for path in folder.glob("step_*")
    )
    return sorted(int(name[1]) for name in names if name)


def _file(folder: Path, step: int) -> Path:
    return folder / f"step_{step:012d}.safetensors"


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


def _to_host(path: str, leaf: Any) -> np.ndarray:
    return host_array("tree", path, jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _describe(leaf: Any) -> dict[str, Any]:
    """Say what a leaf of the restored tree must be; the values of a typed key need its name too."""
    row = {"shape": list(leaf.shape), "dtype": leaf.dtype.name}
    return row | {"impl": str(jax.random.key_impl(leaf))} if _is_key(leaf) else row


def _rebuild(
    path: Path,
    like: ArrayTree,
    wanted: dict[str, Any],
    arrays: dict[str, np.ndarray],
    rows: dict[str, dict[str, Any]],
) -> ArrayTree:
    for name in [*wanted, *rows]:
        if name not in rows or name not in wanted:
            fault = "the checkpoint lacks" if name not in rows else "only the checkpoint has"
            raise ValueError(
                f"like: {fault} the leaf {name!r} of {path}; build the tree as when it was saved, "
                "or choose another folder"
            )
    leaves = [_to_leaf(path, name, leaf, arrays[name], rows[name]) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _to_leaf(path: Path, name: str, like: Any, array: np.ndarray, row: dict[str, Any]) -> Any:
    if not (hasattr(like, "shape") and hasattr(like, "dtype")):
        raise TypeError(f"like: leaf {name!r} is {type(like).__name__}, needs to be an array")
    given, held = (list(like.shape), like.dtype.name), (row["shape"], row["dtype"])
    if given != held:
        raise ValueError(
            f"like: leaf {name!r} is {given[1]}{given[0]}, in {path} it is {held[1]}{held[0]}; "
            "build the tree as when it was saved, or choose another folder"
        )
    if isinstance(like, np.ndarray | np.generic):
        return array if isinstance(like, np.ndarray) else array[()]
    value = device_array("folder", name, array)
    if "impl" in row:
        value = jax.random.wrap_key_data(value, impl=row["impl"])
    if isinstance(like, jax.Array) and not like.committed:
        return value
    sharding = getattr(like, "sharding", None)
    return value if sharding is None else jax.device_put(value, sharding)
