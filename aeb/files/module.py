# SPDX-License-Identifier: Apache-2.0
"""Describe a Flax module as plain data, and build it again from the description.

A file uses this to say which network its weights belong to. A linen module is a dataclass, so its
class and its fields describe it in full. An NNX module does not keep the arguments that it was made
with, so the caller gives them: `functools.partial(Class, *args, **fields)`, without `rngs`.

A class is written as `package.module:Name`. A field may be None, a boolean, a finite number, text,
a dtype, another linen module, or a list, tuple or dict of these. What JSON cannot hold by itself,
such as a tuple, becomes a dict with a `type`. Code is never written. So if a field of a linen
module is a function, it must be the default of its class.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import reprlib
from typing import Any

import numpy as np

from aeb.files.archive import DTYPES

__all__ = ["build_module", "describe_module", "is_nnx"]

PARENT = "parent"
"""The field of a linen module that points to the module which contains it; it is not written."""


RNGS = "rngs"
"""The argument that an NNX module takes its random streams by."""


def describe_module(module: Any) -> dict[str, Any]:
    """Write a module as plain data.

    Args:
        module: a `flax.linen.Module`, or `functools.partial(Class, ...)` of an NNX class with its
            arguments, except `rngs`. Python must be able to import the class by its name.

    Returns:
        `{"type": "module", "class": ..., "fields": ...}`, which JSON can hold. For an NNX module
        the type is "nnx", and there is an entry `args` too.

    Raises:
        TypeError: `module` is neither of the two, or a field is not a plain value.
        ValueError: the class cannot be imported by its name.

    Example:
        >>> import flax.linen as nn
        >>> describe_module(nn.LayerNorm(epsilon=1e-5))["class"]
        'flax.linen.normalization:LayerNorm'
    """
    import flax.linen as nn

    if isinstance(module, functools.partial):
        return _describe_nnx(module)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module: expected an instance of flax.linen.Module, got one of "
            f"{type(module).__name__}. An nnx module does not keep the arguments it was made "
            "with: pass functools.partial(Class, ...) with them, or save its nnx.state without "
            "module and read it by aeb.load_sparse(path, like=nnx.state(model))"
        )
    kind = type(module)
    name = _importable_name(kind)
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
                "holds plain values alone; make it the default of a class, or save the weights "
                "alone"
            ) from None
    return {"type": "module", "class": name, "fields": fields}


def _describe_nnx(recipe: functools.partial[Any]) -> dict[str, Any]:
    """Write the class of an NNX module and its arguments as plain data."""
    from flax import nnx

    kind = recipe.func
    if not (isinstance(kind, type) and issubclass(kind, nnx.Module)):
        raise TypeError(
            f"module: expected functools.partial of the class of an nnx module, got one of {kind}; "
            "pass a linen module as it is"
        )
    if RNGS in recipe.keywords:
        raise TypeError(
            "module: leave rngs out of the functools.partial; a file holds weights, no streams"
        )
    name = _importable_name(kind)
    try:
        args = [_encode(value) for value in recipe.args]
        fields = {field: _encode(value) for field, value in recipe.keywords.items()}
    except _NotPlainError as error:
        raise TypeError(
            f"module: an argument of {kind.__qualname__} is {error}, and a file holds plain values "
            "alone; make it the default of the class, or save the weights alone"
        ) from None
    return {"type": "nnx", "class": name, "args": args, "fields": fields}


def _importable_name(kind: type) -> str:
    """Return the name of a class, which another process can import it by."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        importable = kind.__module__ != "__main__" and _named_class(name) is kind
    except (ImportError, AttributeError):
        importable = False
    if not importable:
        raise ValueError(
            f"module: the class {kind.__qualname__} of {kind.__module__} cannot be imported by "
            "that name; define it at the top of a file that can be imported, or save the weights "
            "alone"
        )
    return name


def is_nnx(description: dict[str, Any]) -> bool:
    """Return whether a description is that of an NNX module."""
    return bool(description["type"] == "nnx")


def build_module(description: dict[str, Any]) -> Any:
    """Build the module that a description names. This imports the package of its class.

    Args:
        description: what `describe_module` returned.

    Returns:
        A `flax.linen.Module`, or a `flax.nnx.Module` with fresh weights.

    Raises:
        ImportError: the class is not in the packages installed here.
        ValueError: the name is not that of a Flax module, or the class no longer has these fields.

    Example:
        >>> import flax.linen as nn
        >>> build_module(describe_module(nn.Dense(3))).features
        3
    """
    library, base = _library(description)
    name = description["class"]
    try:
        kind = _named_class(name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"module: {name} cannot be imported ({error}); install the package that has it, or "
            "read the weights alone by aeb.load_sparse"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(f"module: {name} is no {library}.Module; a file may name nothing else")
    args = [_decode(value) for value in description.get("args", [])]
    fields = {field: _decode(value) for field, value in description["fields"].items()}
    try:
        if is_nnx(description):
            fields |= _streams(kind)
        return kind(*args, **fields)
    except TypeError as error:
        raise ValueError(
            f"module: {name} does not take the fields it was saved with ({error}); install the "
            "version it was saved with, or read the weights alone by aeb.load_sparse"
        ) from error


def _library(description: dict[str, Any]) -> tuple[str, type]:
    """Return the name of the library that a described module is of, and its base class."""
    if is_nnx(description):
        from flax import nnx

        return "flax.nnx", nnx.Module
    import flax.linen as nn

    return "flax.linen", nn.Module


def _streams(kind: type) -> dict[str, Any]:
    """Return random streams for an NNX class that takes them. Its weights are replaced later."""
    from flax import nnx

    # Of the class itself inspect sees NNX's metaclass, which takes anything.
    made = inspect.signature(kind.__init__)  # type: ignore[misc]  # it is read, not called
    return {RNGS: nnx.Rngs(0)} if RNGS in made.parameters else {}


class _NotPlainError(TypeError):
    """A value that a file cannot hold."""


def _named_class(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _encode(value: Any) -> Any:
    """Return a value in a form that JSON can hold. The error says which value is not plain."""
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
