# SPDX-License-Identifier: Apache-2.0
"""Leaves by name: one path rule for linen, nnx and plain pytrees.

The path of a leaf joins its keys with `/`. What a library adds around the user's names is taken
off, so that a rule written once chooses the same tensors everywhere: nnx ends each path in
`value`, and a linen variable dict begins each in `params`. A bare array has the path "".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.tree_util import DictKey, GetAttrKey

from aeb.types import ArrayTree, Where, every_weight

__all__ = ["as_where", "named_leaves", "replace_leaves", "select"]


def named_leaves(tree: ArrayTree) -> dict[str, Any]:
    """List the leaves by path, in the order of `jax.tree.leaves`.

    Args:
        tree: any pytree.

    Returns:
        A dict from path to leaf.

    Raises:
        ValueError: two leaves have the same path, such as `{"a/b": x, "a": {"b": y}}`.

    Example:
        >>> list(named_leaves({"Dense_0": {"kernel": 1.0, "bias": 2.0}}))
        ['Dense_0/bias', 'Dense_0/kernel']
    """
    entries = jax.tree_util.tree_flatten_with_path(tree)[0]
    keys = [path for path, _ in entries]
    if keys and all(len(path) > 1 and path[0] == DictKey("params") for path in keys):
        keys = [path[1:] for path in keys]
    if keys and all(len(path) > 1 and path[-1] == GetAttrKey("value") for path in keys):
        keys = [path[:-1] for path in keys]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path in keys]
    named = dict(zip(names, (leaf for _, leaf in entries), strict=True))
    if len(named) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"params: two leaves share the path {twice[0]!r}; rename one of them")
    return named


def replace_leaves(tree: ArrayTree, named: Mapping[str, Any]) -> ArrayTree:
    """Put new leaves in place of those with the given paths.

    Args:
        tree: any pytree.
        named: path to new leaf; paths left out keep their leaf.

    Returns:
        A tree of the same structure.

    Example:
        >>> replace_leaves({"a": 1, "b": 2}, {"b": 3})
        {'a': 1, 'b': 3}
    """
    leaves = [named.get(path, leaf) for path, leaf in named_leaves(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def as_where(where: Where) -> Callable[[str, Any], bool]:
    """Turn a rule in any of its forms into `(path, leaf) -> bool`.

    Args:
        where: a regular expression that is searched in the path, a function, or None for every
            leaf but those named bias or scale.

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
    """List the leaves that a rule chooses, by path.

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
    return {path: leaf for path, leaf in named_leaves(tree).items() if rule(path, leaf)}
