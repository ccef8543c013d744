# SPDX-License-Identifier: Apache-2.0
"""Find the user's own code by its name, `package.module:name`, and explain what is wrong with it.

The current folder is on the path, as with `python -m`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import sys
import traceback
from types import ModuleType
from typing import Any, NamedTuple

import flax.linen
from flax import nnx

from aeb.guards import some
from aeb.usage import UsageError

__all__ = ["Found", "described", "find", "find_network", "is_name", "use_current_folder"]


class Found(NamedTuple):
    """A network, and the recipe in a sparse file from which `aeb.load` can rebuild it."""

    module: Any  # a linen or NNX module
    recipe: Any  # the linen module, functools.partial of an NNX class, or None


def is_name(text: str) -> bool:
    """Return whether a text has the form `package.module:name` and is not a file."""
    return ":" in text and not os.path.exists(text)


def find(option: str, name: str) -> Any:
    """Import a module, and return what a name in it refers to.

    Args:
        option: the option of the command line, for messages.
        name: `package.module:name`. The name may contain dots.

    Returns:
        The object of this name.

    Raises:
        UsageError: the name has another form, does not exist, or its import failed.
    """
    place, _, path = name.partition(":")
    if place.endswith(".py") or "/" in place:
        place = place.removesuffix(".py").strip("./").replace("/", ".")
        raise UsageError(
            f"--{option}: got {name!r}; write it as an import does, {place}:{path or 'name'}"
        )
    if not (place and path):
        raise UsageError(f"--{option}: got {name!r}, needs to be package.module:name")
    found: Any = _imported(option, place)
    for part in path.split("."):
        if not hasattr(found, part):
            raise UsageError(f"--{option}: {place} has no {part!r}{_instead(found, part)}")
        found = getattr(found, part)
    return found


def find_network(name: str, seed: int) -> Found:
    """Find a network: a linen or NNX module, or a function or class that makes one.

    Args:
        name: `package.module:name`. A function or a class is called without arguments, or with
            `rngs=` if it needs them.
        seed: the seed of the random streams of an NNX module.

    Returns:
        The module, and its recipe.

    Raises:
        UsageError: it cannot be found, cannot be called, or is something else.
    """
    found = find("model", name)
    if isinstance(found, flax.linen.Module):
        return Found(found, found)
    if isinstance(found, nnx.Module):
        return Found(found, None)
    if not callable(found):
        raise UsageError(
            f"--model: {name} is {type(found).__name__}; needs to be a linen or NNX module, or a "
            "function that returns one"
        )
    needed = _needed(found)
    if needed not in ([], ["rngs"]):
        raise UsageError(
            f"--model: {name} needs {', '.join(needed)}; name a function without arguments that "
            "returns the module"
        )
    try:
        made = found(rngs=nnx.Rngs(seed)) if needed else found()
    except Exception as error:  # the user's own code, which may raise anything: told in a line
        raise UsageError(f"--model: calling {name} raised {described(error)}") from error
    if not isinstance(made, flax.linen.Module | nnx.Module):
        raise UsageError(
            f"--model: {name} returned {type(made).__name__}; needs to return a linen or NNX module"
        )
    if isinstance(made, flax.linen.Module):
        return Found(made, made)
    # An NNX module does not keep the arguments it was made with. A class or a partial of it does.
    is_partial = isinstance(found, functools.partial) and isinstance(found.func, type)
    recipe = functools.partial(found) if isinstance(found, type) else found if is_partial else None
    return Found(made, recipe)


def use_current_folder() -> str:
    """Put the current folder, with the user's modules, on the path. Return the folder."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()  # the file may be newer than this process
    return here


def described(error: BaseException) -> str:
    """Describe an error in the user's code in one line, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}{place}"


def _imported(option: str, place: str) -> ModuleType:
    here = use_current_folder()
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or place
        if place == missing or place.startswith(f"{missing}."):
            raise UsageError(
                f"--{option}: there is no module {missing!r}, neither in {here} nor among the "
                "installed packages"
            ) from error
        raise UsageError(
            f"--{option}: importing {place} needs {missing!r}, which is not installed"
        ) from error
    except Exception as error:  # the user's own code, which may raise anything: told in a line
        raise UsageError(f"--{option}: importing {place} raised {described(error)}") from error


def _needed(function: Any) -> list[str]:
    """List the arguments without a default."""
    is_class = isinstance(function, type)
    try:
        # The metaclass of NNX hides the arguments of its classes.
        signature = inspect.signature(function.__init__ if is_class else function)
    except ValueError:  # some builtins have no signature
        return []
    parameters = list(signature.parameters.values())[is_class:]  # without self
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def _instead(found: Any, part: str) -> str:
    """List the names that exist, the most similar first."""
    public = [
        name
        for name, value in vars(found).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == getattr(found, "__name__", None)
    ]
    near = difflib.get_close_matches(part, public, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; it has {some(public, 5)}" if public else ""
