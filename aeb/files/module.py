# SPDX-License-Identifier: Apache-2.0
"""Which network a file belongs to: a linen module as plain data, and back.

A linen module is a dataclass, so its class and its fields say all of it. The class is written as
`package.module:Name`. Fields may hold None, booleans, finite numbers, text, dtypes, other linen
modules, and lists, tuples and dicts of these; what JSON has no word for is a dict with a `type`.
Code is never written: a field that holds a function has to keep the default of its class.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import reprlib
from typing import Any

import numpy as np

from aeb.files.archive import DTYPES

__all__ = ["build_module", "describe_module"]

PARENT = "parent"
"""The field that ties a linen module to the one that calls it; a module in a file has none."""


def describe_module(module: Any) -> dict[str, Any]:
    """Write a linen module as plain data.

    Args:
        module: a `flax.linen.Module`, its class in a package that can be imported.

    Returns:
        `{"type": "module", "class": ..., "fields": ...}`, fit for JSON.

    Raises:
        TypeError: it is no linen module, or a field holds what is no plain value.
        ValueError: its class cannot be imported by name.

    Example:
        >>> import flax.linen as nn
        >>> describe_module(nn.LayerNorm(epsilon=1e-5))["class"]
        'flax.linen.normalization:LayerNorm'
    """
    import flax.linen as nn

    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module: expected an instance of flax.linen.Module, got one of "
            f"{type(module).__name__}. An nnx module does not keep the arguments it was made "
            "with: save its nnx.state without module, and read it by "
            "aeb.load_sparse(path, like=nnx.state(model))"
        )
    kind = type(module)
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        importable = kind.__module__ != "__main__" and _named_class(name) is kind
    except (ImportError, AttributeError):
        importable = False
    if not importable:
        raise ValueError(
            f"module: the class {kind.__qualname__} of {kind.__module__} cannot be imported by "
            "that name; move it to the top of a module of a package, or leave module out"
        )
    fields = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        if field.name == PARENT or (field.name == "name" and value is None):
            continue
        try:
            fields[field.name] = _encode(value)
        except _NotPlainError as error:
            if value is field.default:
                continue
            raise TypeError(
                f"module: field {field.name!r} of {kind.__qualname__} holds {error}, and a file "
                "holds plain values alone; make it the default of a class, or leave module out"
            ) from None
    return {"type": "module", "class": name, "fields": fields}


def build_module(description: dict[str, Any]) -> Any:
    """Make the module that a description names; this imports the package of its class.

    Args:
        description: what `describe_module` returned.

    Returns:
        A `flax.linen.Module`.

    Raises:
        ImportError: the class is not in the packages installed here.
        ValueError: the name is not that of a linen module, or its fields are others by now.

    Example:
        >>> import flax.linen as nn
        >>> build_module(describe_module(nn.Dense(3))).features
        3
    """
    import flax.linen as nn

    name = description["class"]
    try:
        kind = _named_class(name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"module: {name} cannot be imported ({error}); install the package that has it, or "
            "read the weights alone by aeb.load_sparse"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"module: {name} is no flax.linen.Module; a file may name nothing else")
    fields = {field: _decode(value) for field, value in description["fields"].items()}
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(
            f"module: {name} does not take the fields it was saved with ({error}); install the "
            "version it was saved with, or read the weights alone by aeb.load_sparse"
        ) from error


class _NotPlainError(TypeError):
    """A value that a file cannot hold."""


def _named_class(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _encode(value: Any) -> Any:
    """Write a value as JSON can hold it; the error of one that is not plain says what it is."""
    import flax.linen as nn

    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) in (list, tuple):
        return {"type": type(value).__name__, "items": [_encode(item) for item in value]}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"type": "dict", "items": {key: _encode(item) for key, item in value.items()}}
    if isinstance(value, nn.Module):
        return describe_module(value)
    # Python's own number types are classes too, and numpy would take them for float64 and such.
    if isinstance(value, type | np.dtype) and value not in (bool, int, float, complex):
        name = np.dtype(value).name
        if name in DTYPES.values():
            return {"type": "dtype", "name": name}
    raise _NotPlainError(f"{reprlib.repr(value)}, a {type(value).__name__}")


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    match value["type"]:
        case "list":
            return [_decode(item) for item in value["items"]]
        case "tuple":
            return tuple(_decode(item) for item in value["items"])
        case "dict":
            return {key: _decode(item) for key, item in value["items"].items()}
        case "dtype":
            return np.dtype(value["name"])
        case "module":
            return build_module(value)
    raise ValueError(f"module: a field is of the unknown type {value['type']!r}; upgrade aeb")
