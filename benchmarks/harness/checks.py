# SPDX-License-Identifier: Apache-2.0
"""The ranges of settings, said by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aeb import guards

__all__ = ["check"]


def check(
    settings: Any,
    *,
    some: str = "",
    whole: Mapping[int, str] | None = None,
    positive: str = "",
    at_least: Mapping[float, str] | None = None,
    within: Mapping[str, str] | None = None,
    one_of: Mapping[tuple[str, ...], str] | None = None,
) -> None:
    """Check settings, whose names are given as words; of a tuple each entry.

    Args:
        settings: what has them as attributes.
        some: tuples that may not be empty.
        whole: to the least whole number the settings that are one.
        positive: settings in (0, inf).
        at_least: to a number the settings that may not be below it.
        within: to an interval, such as `(0, 1]`, the settings inside it.
        one_of: to the words that there are the settings that are one of them.

    Raises:
        ValueError: names the first setting out of its range.
    """
    for name in some.split():
        if not getattr(settings, name):
            raise ValueError(f"{name}: name at least one")
    _each(settings, guards.whole, whole)
    for name in positive.split():
        for value in _values(settings, name):
            guards.positive(name, value)
    _each(settings, guards.at_least, at_least)
    _each(settings, guards.within, within)
    _each(settings, guards.one_of, one_of)


def _each(
    settings: Any, guard: Callable[[str, Any, Any], None], ranges: Mapping[Any, str] | None
) -> None:
    for allowed, names in (ranges or {}).items():
        for name in names.split():
            for value in _values(settings, name):
                guard(name, value, allowed)


def _values(settings: Any, name: str) -> tuple[Any, ...]:
    value = getattr(settings, name)
    return value if isinstance(value, tuple) else (value,)
