# SPDX-License-Identifier: Apache-2.0
"""Convert draws for ArviZ, to use its plots and summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import jax
import numpy as np

from aeb import guards
from aeb.tree import named_leaves
from aeb.types import ArrayTree

__all__ = ["to_arviz"]


def to_arviz(
    draws: ArrayTree,
    *,
    chains: bool = False,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Return draws in the form that ArviZ takes; needs `pip install arviz`, 0.23 or 1.x.

    Args:
        draws: a pytree as `aeb.sample` collects it. The leading axes of its leaves are [draws], or
            [chains, draws] if `chains` is True.
        chains: whether the draws come from several chains.
        coords: the labels along a dimension, by the name of the dimension.
        dims: the names of a variable's dimensions after chain and draw, by the path of the leaf or
            by the name of the variable.

    Returns:
        An `arviz.InferenceData` (ArviZ 0.x) or an `xarray.DataTree` (ArviZ 1.x). Its group
        `posterior` has one variable with dimensions (chain, draw, ...) for each leaf. The variable
        is named by the leaf's path in the tree with dots, such as `Dense_0.kernel`, for ArviZ 1.x
        takes no slashes; a bare array is named `x`.

    Raises:
        ImportError: ArviZ is not installed.
        ValueError: the leaves differ in the number of chains or draws, there are no leaves, or two
            have one name.

    Example:
        >>> import pytest; _ = pytest.importorskip("arviz")
        >>> to_arviz({"w": np.zeros((4, 100, 2))}, chains=True).posterior["w"].shape
        (4, 100, 2)
    """
    guards.check_data("draws", draws)
    if chains:
        guards.check_data("draws", jax.tree.map(itemgetter(0), draws))
    try:
        import arviz
    except ImportError as error:
        raise ImportError("aeb.to_arviz hands draws to ArviZ: pip install arviz") from error
    leaves = named_leaves(draws)
    posterior = {
        _name(path): np.asarray(leaf if chains else leaf[None]) for path, leaf in leaves.items()
    }
    if len(posterior) < len(leaves):
        raise ValueError("draws: two leaves have one name once slashes are dots; rename one")
    dims = None if dims is None else {_name(path): names for path, names in dims.items()}
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict({"posterior": posterior}, coords=coords, dims=dims)
    return arviz.from_dict(posterior=posterior, coords=coords, dims=dims)


def _name(path: str) -> str:
    """Return the name of the variable of a leaf."""
    return path.replace("/", ".") or "x"
