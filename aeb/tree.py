# SPDX-License-Identifier: Apache-2.0
"""Name leaves by their paths, in one notation for linen, nnx and plain pytrees.

The path of a leaf joins its keys with `/`. What a library adds around the user's names is removed,
so that a rule written once chooses the same tensors everywhere: nnx ends the path of each variable
in `value`, and a linen variable dict begins each with `params` if it holds nothing else. A bare
array has the path "". Rules, reports, checkpoints, sparse files and shardings all use these paths.

A tree may hold more than parameters: batch statistics, counters, keys. Two libraries tell them
apart:

    linen   in a dict with a collection `params`, everything outside that collection
    nnx     in a tree with an `nnx.Param`, every `nnx.Variable` that is not an `nnx.Param`

These leaves are called statistics here. They have paths like all others, but no rule chooses them.
In any other tree every leaf is a parameter.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import DictKey

from aeb.types import ArrayTree, Where, every_weight

__all__ = [
    "Leaf",
    "as_where",
    "brief",
    "describe",
    "keyed_leaves",
    "named_leaves",
    "path_of",
    "replace_leaves",
    "select",
    "statistics",
]

PARAMS = DictKey("params")
"""The collection of a linen variable dict that holds the parameters."""


class Leaf(NamedTuple):
    """A leaf and its place in the tree."""

    keys: tuple[Any, ...]  # jax's key path, without the `value` of an nnx variable
    value: Any
    is_statistic: bool


def keyed_leaves(tree: ArrayTree) -> list[Leaf]:
    """List the leaves with their key paths, and whether they are statistics.

    Args:
        tree: any pytree.

    Returns:
        One `Leaf` per leaf, in the order of `jax.tree.leaves`.

    Example:
        >>> variables = {"params": {"scale": 1.0}, "batch_stats": {"mean": 2.0}}
        >>> [(path_of(leaf.keys), leaf.is_statistic) for leaf in keyed_leaves(variables)]
        [('batch_stats/mean', True), ('params/scale', False)]
    """
    # If nobody imported nnx, no tree holds its variables.
    nnx: Any = sys.modules.get("flax.nnx")

    def is_variable(node: Any) -> bool:
        return nnx is not None and isinstance(node, nnx.Variable)

    nodes = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_variable)[0]
    any_param = any(is_variable(node) and isinstance(node, nnx.Param) for _, node in nodes)
    variable_dicts = {
        keys[:depth]
        for keys, node in nodes
        for depth in range(len(keys) - 1)
        if keys[depth] == PARAMS and isinstance(keys[depth + 1], DictKey) and not is_variable(node)
    }
    leaves = []
    for keys, node in nodes:
        if is_variable(node):
            is_statistic = any_param and not isinstance(node, nnx.Param)
            for inner, value in jax.tree_util.tree_flatten_with_path(node)[0]:
                leaves.append(Leaf((*keys, *inner[1:]), value, is_statistic))
        else:
            is_statistic = any(
                keys[:depth] in variable_dicts and key != PARAMS for depth, key in enumerate(keys)
            )
            leaves.append(Leaf(keys, node, is_statistic))
    return leaves


def path_of(keys: tuple[Any, ...]) -> str:
    """Convert a key path of JAX to the notation of this library.

    Example:
        >>> path_of((DictKey("block"), jax.tree_util.SequenceKey(0)))
        'block/0'
    """
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def named_leaves(tree: ArrayTree, argument: str = "params") -> dict[str, Any]:
    """List the leaves by path, in the order of `jax.tree.leaves`.

    Args:
        tree: any pytree.
        argument: the name of the argument, for messages.

    Returns:
        A dict from path to leaf.

    Raises:
        ValueError: two leaves have the same path, such as `{"a/b": x, "a": {"b": y}}`.

    Example:
        >>> list(named_leaves({"Dense_0": {"kernel": 1.0, "bias": 2.0}}))
        ['Dense_0/bias', 'Dense_0/kernel']
    """
    return {path: leaf.value for path, leaf in _by_path(tree, argument).items()}


def statistics(tree: ArrayTree) -> dict[str, Any]:
    """List the leaves that are not parameters, by path; see the module docstring.

    Args:
        tree: any pytree.

    Returns:
        A dict from path to leaf, in the order of `jax.tree.leaves`.

    Example:
        >>> statistics({"params": {"scale": 1.0}, "batch_stats": {"mean": 2.0}})
        {'batch_stats/mean': 2.0}
    """
    named = _by_path(tree, "params")
    return {path: leaf.value for path, leaf in named.items() if leaf.is_statistic}


def replace_leaves(tree: ArrayTree, named: Mapping[str, Any]) -> ArrayTree:
    """Replace the leaves with the given paths.

    Args:
        tree: any pytree.
        named: a dict from path to new leaf. Other leaves stay.

    Returns:
        A tree of the same structure.

    Example:
        >>> replace_leaves({"a": 1, "b": 2}, {"b": 3})
        {'a': 1, 'b': 3}
    """
    leaves = [named.get(path, leaf) for path, leaf in named_leaves(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def as_where(where: Where) -> Callable[[str, Any], bool]:
    """Convert a rule in any of its forms to a function `(path, leaf) -> bool`.

    Args:
        where: a regular expression to search for in the path, a function, or None for every leaf
            except those named bias or scale.

    Returns:
        The rule as a function.

    Raises:
        ValueError: the regular expression does not compile.
        TypeError: `where` is none of the three forms.

    Example:
        >>> as_where(r"conv.*/kernel$")("block/conv_1/kernel", None)
        True
    """
    if where is None:
        return every_weight
    if isinstance(where, str):
        try:
            pattern = re.compile(where)
        except re.error as error:
            raise ValueError(f"where: {where!r} is not a regular expression: {error}") from error
        return lambda path, leaf: pattern.search(path) is not None
    if callable(where):
        return where
    raise TypeError(
        f"where: expected a regular expression or (path, leaf) -> bool, got {type(where).__name__}"
    )


def select(tree: ArrayTree, where: Where = None) -> dict[str, Any]:
    """List the parameters that a rule chooses, by path. Statistics are never chosen.

    Args:
        tree: any pytree.
        where: the rule, in any form that `as_where` takes.

    Returns:
        A dict from path to leaf, in the order of `jax.tree.leaves`.

    Example:
        >>> select({"kernel": 1.0, "bias": 2.0})
        {'kernel': 1.0}
    """
    rule = as_where(where)
    return {
        path: leaf.value
        for path, leaf in _by_path(tree, "params").items()
        if not leaf.is_statistic and rule(path, leaf.value)
    }


def describe(tree: ArrayTree) -> str:
    """Describe a tree of arrays in a few words, for the repr of an object that holds it.

    Args:
        tree: any pytree. Zeros are counted if all leaves are arrays that this process can read.

    Returns:
        Text of one line.

    Example:
        >>> describe({"kernel": np.eye(3), "bias": np.ones(3)})
        '<12 numbers, 6 of them zero>'
    """
    leaves = jax.tree.leaves(tree)
    if not leaves or not all(hasattr(leaf, "shape") for leaf in leaves):
        return f"<{len(leaves)} leaves>"
    size = sum(math.prod(leaf.shape) for leaf in leaves)
    text = f"{size:,} numbers"
    if all(_is_readable(leaf) for leaf in leaves):
        zeros = sum(leaf.size - np.count_nonzero(np.asarray(leaf)) for leaf in leaves)
        text += f", {zeros:,} of them zero"
    return f"<{text}>"


def brief(value: Any) -> str:
    """Format a real scalar with four digits, a tree as `describe` does, and anything else as it is.

    Example:
        >>> brief(jax.numpy.float32(1 / 3)), brief(jax.numpy.int32(12345)), brief(None)
        ('0.3333', '12345', 'None')
    """
    if not _is_readable(value):
        return str(value)
    if value.ndim:
        return describe(value)
    number = value.item()
    return f"{number:.4g}" if isinstance(number, float) else str(number)


def _is_readable(leaf: Any) -> bool:
    """Return whether an array can be read: no tracer, not donated, and entirely in this process."""
    if isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, jax.Array | np.ndarray):
        return False
    if isinstance(leaf, np.ndarray):
        return True
    numbers = not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return numbers and not leaf.is_deleted() and leaf.is_fully_addressable


def _by_path(tree: ArrayTree, argument: str) -> dict[str, Leaf]:
    leaves = keyed_leaves(tree)
    rooted = leaves and all(len(leaf.keys) > 1 and leaf.keys[0] == PARAMS for leaf in leaves)
    names = [path_of(leaf.keys[1:] if rooted else leaf.keys) for leaf in leaves]
    named = dict(zip(names, leaves, strict=True))
    if len(named) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{argument}: two leaves share the path {twice[0]!r}; rename one of them")
    return named
