# SPDX-License-Identifier: Apache-2.0
"""Check arguments at the public boundary. A message says what was given and what is needed.

Only concrete numbers are checked. A tracer, whose value is not known yet, and a schedule pass.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import re
import reprlib
import sys
import sysconfig
import traceback
import types
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb import axes
from aeb.tree import named_leaves, select, statistics
from aeb.types import ArrayTree, Where

__all__ = [
    "at_least",
    "called_with",
    "check_axes",
    "check_batch",
    "check_data",
    "check_folder",
    "check_key",
    "check_matches",
    "check_numbers",
    "check_order",
    "check_params",
    "finite",
    "made_of",
    "one_of",
    "one_rate",
    "positive",
    "share",
    "some",
    "stacklevel",
    "taking",
    "whole",
    "within",
]


def _number(name: str, value: Any) -> float | None:
    """Return a concrete real scalar; None if the value is a tracer or a schedule."""
    if callable(value) or isinstance(value, jax.core.Tracer):
        return None
    array = np.asarray(value)
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if array.ndim or not real:
        raise TypeError(f"{name}: expected a real number, got {reprlib.repr(value)}")
    return float(array)


def positive(name: str, value: Any) -> None:
    """Require a number in (0, inf)."""
    number = _number(name, value)
    if number is not None and not 0 < number < math.inf:
        raise ValueError(f"{name}: got {value!r}, needs to be positive and finite")


def at_least(name: str, value: Any, low: float) -> None:
    """Require a finite number in [low, inf)."""
    number = _number(name, value)
    if number is not None and not low <= number < math.inf:
        raise ValueError(f"{name}: got {value!r}, needs to be at least {low:g} and finite")


def finite(name: str, value: Any) -> None:
    """Require a finite number."""
    number = _number(name, value)
    if number is not None and not math.isfinite(number):
        raise ValueError(f"{name}: got {value!r}, needs to be finite")


def within(name: str, value: Any, interval: str) -> None:
    """Require a number inside an interval written as in a textbook, such as `(0, 1]`."""
    number = _number(name, value)
    if number is None:
        return
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    if not (above and below):
        raise ValueError(f"{name}: got {value!r}, needs to be in {interval}")


def share(name: str, value: Any) -> None:
    """Require a share in [0, 1). Tell a number of per cent from other numbers."""
    number = _number(name, value)
    if number is not None and 1 < number < 100:
        raise ValueError(
            f"{name}: got {value!r}, needs to be in [0, 1); it is a fraction, so {number:g} % is "
            f"{number / 100:g}"
        )
    within(name, value, "[0, 1)")


def one_rate(step_size: Any, learning_rate: Any) -> None:
    """Require a positive step size or a positive learning rate, and not both."""
    if (step_size is None) == (learning_rate is None):
        given = "neither" if step_size is None else "both"
        raise ValueError(
            f"step_size, learning_rate: got {given}, needs exactly one; learning_rate is that of "
            "the mean loss, as in optax, and step_size = learning_rate / num_data"
        )
    if learning_rate is None:
        positive("step_size", step_size)
    else:
        positive("learning_rate", learning_rate)


def whole(name: str, value: Any, low: int) -> None:
    """Require an integer in [low, inf)."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    at_least(name, value, low)


def made_of(name: str, value: Any, kind: type, example: str) -> None:
    """Require an ingredient of the right type."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected one such as {example}, got {type(value).__name__}")


def called_with(name: str, function: Any, arguments: str, hint: str) -> None:
    """Require a function that can be called with these arguments, such as `params, batch`."""
    if not callable(function):
        raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables have none; the call itself will tell
        return
    try:
        signature.bind(*arguments.split(", "))
    except TypeError as error:
        raise TypeError(f"{name}: it is called with ({arguments}): {error}; {hint}") from error


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Require one of a few words."""
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, needs to be one of {', '.join(choices)}")


def some(words: Sequence[str], count: int = 3) -> str:
    """List the first few words, and say how many more there are.

    Example:
        >>> some(["a", "b", "c"], 2)
        "'a', 'b' and 1 more"
    """
    more = f" and {len(words) - count} more" if len(words) > count else ""
    return ", ".join(repr(word) for word in words[:count]) + more


def stacklevel() -> int:
    """Return the `stacklevel=` by which a warning names the user's line.

    That is the first line outside this package and scikit-learn, whose tools call its estimators.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_library(frame):
        level, frame = level + 1, frame.f_back
    return level


def _is_library(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).split(".")[0] in ("aeb", "sklearn", "joblib")


def check_params(params: ArrayTree, *, alone: bool = True) -> None:
    """Require one or more parameters that are all real floating-point arrays.

    If `alone`, statistics (see `aeb.tree`) are refused. Otherwise they are ignored.
    """
    left = list(statistics(params)) if alone else []
    if left:
        raise ValueError(
            f"params: {len(left)} of its leaves are no parameters ({some(left)}), and a sampler "
            'would move them; pass variables["params"] or nnx.state(model, nnx.Param), and the '
            "rest as model_state"
        )
    named = select(params, ".*")
    if not named:
        raise ValueError("params: the tree holds no array; pass the parameters of the model")
    for path, leaf in named.items():
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"params: leaf {path!r} is {type(leaf).__name__ if dtype is None else dtype}, "
                "needs to be a floating-point array; keep counters and such in model_state"
            )


def check_axes(params: ArrayTree) -> None:
    """Require weights that are not split over mesh axes of type Explicit."""
    spec = axes.split_leaf(params)
    if spec is not None:
        raise ValueError(
            f"params: they are split as {spec} over mesh axes of the type Explicit, need the type "
            "Auto; make the mesh with axis_types=(jax.sharding.AxisType.Auto,)"
        )


def check_key(name: str, key: Any, *, many: bool = False) -> None:
    """Require one typed key, or one axis of keys."""
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"{name}: expected a typed key as made by jax.random.key, got {key!r}")
    if key.ndim != many:
        wanted = "a row of keys, one a chain" if many else "one key"
        raise ValueError(f"{name}: expected {wanted}, got shape {key.shape}")


def check_data(name: str, data: Any) -> int:
    """Require one or more arrays that share a leading axis that is not empty; return its length."""
    for path, leaf in named_leaves(data).items():
        if not np.ndim(leaf):
            what = f"leaf {path!r}" if path else "it"
            raise ValueError(
                f"{name}: {what} is {type(leaf).__name__} and has no leading axis of rows; pass "
                "arrays of all rows"
            )
    size = check_batch(name, data)
    if not size:
        raise ValueError(f"{name}: there is no row in it")
    return size


def check_numbers(name: str, data: Any) -> None:
    """Require arrays that JAX can hold."""
    for path, leaf in named_leaves(data).items():
        dtype = getattr(leaf, "dtype", None)
        if isinstance(dtype, np.dtype) and dtype.kind in "OSUMm":
            what = f"leaf {path!r}" if path else "the array"
            raise TypeError(
                f"{name}: {what} holds {dtype}, needs to hold numbers; leave it out, or number its "
                "values by np.unique(values, return_inverse=True)[1]"
            )


def check_order(rows: Any, name: str, values: Any) -> None:
    """Require pandas objects with the same labels to have them in the same order.

    Rows are matched by place. If both have the same labels in another order, one of them was sorted
    or shuffled without the other. If they share only some labels, and these are in other places, a
    warning says so: rows may have been taken of one and not of the other.

    Args:
        rows: the inputs.
        name: the name of the argument that holds one value for each row.
        values: that argument.

    Raises:
        ValueError: both are pandas objects, and their labels differ only in their order.
    """
    pandas = sys.modules.get("pandas")  # if nobody imported it, neither is a pandas object
    if pandas is None or not all(
        isinstance(each, pandas.DataFrame | pandas.Series) for each in (rows, values)
    ):
        return
    first, second = rows.index, values.index
    if len(first) != len(second) or first.nlevels != second.nlevels:
        return
    if not (first.is_unique and second.is_unique):
        return
    places = first.get_indexer(second)  # -1 for a label that the inputs do not have
    elsewhere = np.flatnonzero(places != np.arange(len(places)))
    if not (places[elsewhere] >= 0).any():
        return
    place = elsewhere[0]
    where = (
        f"Row {place} is {second[place]!s}, and {first[place]!s} in the inputs. Rows are matched "
        "by place, so"
    )
    if (places >= 0).all():
        raise ValueError(
            f"{name}: the rows have the labels of the inputs in another order. {where} reorder by "
            ".loc[inputs.index], or pass .to_numpy() if the order is right"
        )
    warnings.warn(
        f"{name}: its rows share some labels with the inputs, in other places. {where} choose the "
        "same rows of both, or pass .to_numpy() if they are the same",
        stacklevel=stacklevel(),
    )


def check_batch(name: str, batch: Any) -> int | None:
    """Require leaves that share their leading axis. Return its length, or None if there is none."""
    sizes = {path: leaf.shape[0] for path, leaf in named_leaves(batch).items() if np.ndim(leaf)}
    if len(set(sizes.values())) > 1:
        listing = ", ".join(f"{path or 'array'}: {size}" for path, size in sizes.items())
        raise ValueError(f"{name}: the leaves differ in length along axis 0 ({listing})")
    return next(iter(sizes.values()), None)


def check_matches(params: ArrayTree, where: Where) -> None:
    """Require a rule that chooses at least one leaf."""
    if select(params, where):
        return
    paths = list(select(params, ".*"))
    # List all of them, but paths that differ only in their numbers once.
    kinds = Counter(re.sub(r"\d+", "*", path) for path in paths)
    listing = ", ".join(f"{kind!r}{f' ({n})' if n > 1 else ''}" for kind, n in kinds.items())
    rule = repr(where) if isinstance(where, str) else "the rule"
    numbers = " (* stands for a number)" if any("*" in kind for kind in kinds) else ""
    raise ValueError(f"where: {rule} matches no leaf; the paths are {listing}{numbers}")


FLAX_SAYS = {
    "shape": r'For parameter "(.*)" in "/(.*)", .* shape \((.*?)\), but .* has shape \((.*?)\)',
    "variable": r'Tried to access "(.*)" from collection "(.*)" in "/(.*)" but',
    "fixed": r'Cannot update variable "(.*)" in "/(.*)" because collection "(.*)" is immutable',
    "param": r'Could not find parameter named "(.*)" in scope "/(.*)"',
}
"""Patterns of linen's errors when weights do not fit the module or the rows."""


@contextlib.contextmanager
def taking(name: str, rows: Any) -> Iterator[None]:
    """Require rows and weights that fit a model. Run the model inside this block.

    Flax and JAX name the product that does not fit. They cannot name the argument that it comes
    from, which the user has to change. Errors of other kinds pass.
    """
    try:
        yield
    except Exception as error:  # from any library; what it says tells which, and others go on
        said = str(error)
        found = {kind: re.match(pattern, said) for kind, pattern in FLAX_SAYS.items()}
        if found["variable"]:
            leaf, collection, scope = found["variable"].groups()
            raise ValueError(
                f"variables: the model reads {_path(scope, leaf)!r} of the collection "
                f"{collection!r}, which is not in them; pass all that module.init returned and "
                f"training left, {{'params': ..., {collection!r}: ...}}"
            ) from error
        if found["fixed"]:
            leaf, scope, collection = found["fixed"].groups()
            raise ValueError(
                f"model: it changes {_path(scope, leaf)!r} of the collection {collection!r} in use "
                "too, not in training alone; give its __call__ an argument `train`, and let "
                "BatchNorm have use_running_average=not train"
            ) from error
        if found["param"]:
            leaf, scope = found["param"].groups()
            raise ValueError(
                f"variables: the model needs the parameter {_path(scope, leaf)!r}, which is not in "
                "them; pass the weights of this model"
            ) from error
        if found["shape"]:
            leaf, scope, needed, has = found["shape"].groups()
            why = (
                f"with such rows {_path(scope, leaf)!r} needs the shape ({needed}), and the "
                f"weights have ({has})"
            )
        elif isinstance(error, TypeError | ValueError) and re.search("shape|dimension", said):
            why = said.splitlines()[0].rstrip(".") + _own_line(error)
        else:
            raise
        shapes = {path: tuple(np.shape(leaf)[1:]) for path, leaf in named_leaves(rows).items()}
        given = ", ".join(
            f"{path}: {shape}" if path else f"{shape}" for path, shape in shapes.items()
        )
        raise ValueError(
            f"{name}: the model does not take rows of the shape {given}; {why}. Pass rows as in "
            "training, or the weights that were trained on such rows"
        ) from error


def check_folder(name: str, path: str | os.PathLike[str]) -> Path:
    """Require a path that is a folder or does not exist yet."""
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name}: {folder} is a file, needs to be a folder; name another path")
    return folder


def _own_line(error: BaseException) -> str:
    """Return the last line of the user's own code in the traceback of an error, if there is one."""
    ours, library = Path(__file__).parent, sysconfig.get_path("stdlib")
    packages = {"site-packages", "dist-packages"}

    def is_own(file: Path) -> bool:
        installed = not packages.isdisjoint(file.parts)
        return not (installed or any(file.is_relative_to(place) for place in (ours, library)))

    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own(Path(frame.filename)) and frame.filename[0] != "<"]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _path(scope: str, leaf: str) -> str:
    return f"{scope}/{leaf}" if scope else leaf
