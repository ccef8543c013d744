# SPDX-License-Identifier: Apache-2.0
"""The range of a setting, written into its type, where the setting is declared.

batch_size: Count = 100  # images of a minibatch
burn_in: Annotated[float, within("[0, 1)")] = 0.5  # share of the draws left out
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from aeb import guards

__all__ = ["Count", "Positive", "Some", "at_least", "check", "one_of", "whole", "within"]

Guard = Callable[[str, Any], None]
"""Raises a ValueError, which begins with the name, where the value is out of range."""

T = TypeVar("T")


def whole(low: int) -> Guard:
    """Require an integer in [low, inf)."""
    return lambda name, value: guards.whole(name, value, low)


def at_least(low: float) -> Guard:
    """Require a finite number in [low, inf)."""
    return lambda name, value: guards.at_least(name, value, low)


def within(interval: str) -> Guard:
    """Require a number inside an interval, such as `(0, 1]`."""
    return lambda name, value: guards.within(name, value, interval)


def one_of(*choices: str) -> Guard:
    """Require one of a few words."""
    return lambda name, value: guards.one_of(name, value, choices)


def some(name: str, value: Any) -> None:
    """Require a tuple that is not empty."""
    if not value:
        raise ValueError(f"{name}: name at least one")


Count = Annotated[int, whole(1)]
Positive = Annotated[float, guards.positive]
Some = Annotated[tuple[T, ...], some]


def check(settings: Any) -> None:
    """Check each setting against the range in its type; of a tuple each entry.

    Settings inside others are checked by their own `check`, where they have one.

    Args:
        settings: a dataclass.

    Raises:
        ValueError: names the first setting out of its range.
    """
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        if hasattr(settings, name):
            _check(name, getattr(settings, name), hint)


def _check(name: str, value: Any, hint: Any) -> None:
    """Check a value against a type; what a type says of its parts holds for them."""
    if value is None:
        return
    if dataclasses.is_dataclass(value):
        getattr(value, "check", lambda: check(value))()
        return
    parts = [part for part in get_args(hint) if part is not Ellipsis]
    if hasattr(hint, "__metadata__"):
        for guard in hint.__metadata__:
            guard(name, value)
        _check(name, value, parts[0])
    elif isinstance(value, tuple) and parts:
        hints = parts if len(parts) == len(value) else parts[:1] * len(value)
        for entry, part in zip(value, hints, strict=True):
            _check(name, entry, part)
    else:
        for part in parts:
            if hasattr(part, "__metadata__"):
                _check(name, value, part)
