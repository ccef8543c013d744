# SPDX-License-Identifier: Apache-2.0
"""Read what the user says about columns: always in, grouped, or waiting for others.

The user names a column by its name or place in X. A column of a data frame may have become several
columns of the matrix, one per level. It is named by its name or place in the frame, or by one of
its levels, such as `town[York]`, which means the whole group. A column without a group is on its
own.

A parent that is always in holds nothing back, so no column waits for it.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aeb import guards
from aeb.linear.frames import Encoding
from aeb.linear.ties import Ties, tie

__all__ = ["Design", "read_design", "restrict", "tie_columns"]


class Design(NamedTuple):
    """The structure of the p columns of the matrix."""

    always: np.ndarray  # i64[k]: always in, ascending
    group: np.ndarray  # i64[p]: the first column of the group of each
    parents: dict[int, tuple[int, ...]]  # first columns of groups, parents before their children
    strong: bool
    log_odds: np.ndarray | None  # f64[p]


class _Named(NamedTuple):
    """The names by which the user may refer to columns."""

    sources: list[np.ndarray]  # for each column of X the columns of the matrix
    places: dict[str, np.ndarray]
    first: str
    p: int
    framed: bool  # whether X is a data frame, whose names may be whole numbers


def read_design(
    names: Sequence[str],
    encoding: Encoding | None,
    *,
    always: Any = None,
    groups: Any = None,
    requires: Any = None,
    heredity: str = "strong",
    inclusion_odds: Any = None,
) -> Design:
    """Read and check what the user of `aeb.regression` says about the columns.

    Args:
        names: the names of the p columns of the matrix.
        encoding: how a data frame became that matrix; None if X was not a data frame.
        always: names, places or truth values of the columns that are always in.
        groups: a label for each column of X, an integer or a text; None for a column on its own. Or
            a mapping from labels to columns.
        requires: a mapping from columns to the columns that they wait for.
        heredity: "strong" if they wait for all columns listed, "weak" if one is enough.
        inclusion_odds: a factor of the prior odds for each column of X, or a mapping from some
            columns to theirs.

    Returns:
        The design of the p columns.

    Raises:
        ValueError: a column does not exist, the groups or the odds do not fit X, or columns wait
            for one another.

    Example:
        >>> design = read_design(["a", "b", "c"], None, groups=[0, 1, 1], requires={"c": "a"})
        >>> design.group.tolist(), design.parents
        ([0, 1, 1], {1: (0,)})
    """
    guards.one_of("heredity", heredity, ("strong", "weak"))
    named = _named(names, encoding)
    labels = names if encoding is None else [column.name for column in encoding.columns]
    always, groups, inclusion_odds = (
        _in_order(value, labels) for value in (always, groups, inclusion_odds)
    )
    group = _groups(groups, named, whole=encoding is not None)
    chosen = np.isin(group, group[_always(always, named)])
    return Design(
        np.flatnonzero(chosen),
        group,
        _parents(requires, named, group, names),
        heredity == "strong",
        _log_odds(inclusion_odds, named, group, names),
    )


def tie_columns(design: Design, columns: np.ndarray) -> Ties | None:
    """Build the ties of some columns. Parents that are not among them count as in the model.

    Args:
        design: the design of all columns.
        columns: i64[k], in ascending order.

    Returns:
        The ties of the k columns; None if every column is on its own.
    """
    first = _first(design, columns)
    return tie(design.group[columns], _waiting(design, first), strong=design.strong)


def restrict(design: Design, columns: np.ndarray) -> dict[str, Any]:
    """Restrict a design to some columns, as arguments of `aeb.regression`.

    Args:
        design: the design of all columns.
        columns: i64[k], in ascending order. Parents that are not among them count as in the model.

    Returns:
        Keyword arguments for the matrix of these columns.
    """
    waiting = _waiting(design, _first(design, columns))
    return {
        "always": np.flatnonzero(np.isin(columns, design.always)),
        "groups": design.group[columns],
        "requires": waiting or None,
        "heredity": "strong" if design.strong else "weak",
        "inclusion_odds": None if design.log_odds is None else np.exp(design.log_odds[columns]),
    }


def _first(design: Design, columns: np.ndarray) -> dict[int, int]:
    """Map each group to the place of its first column."""
    first: dict[int, int] = {}
    for place, group in enumerate(design.group[columns]):
        first.setdefault(int(group), place)
    return first


def _waiting(design: Design, first: dict[int, int]) -> dict[int, tuple[int, ...]]:
    waiting = {}
    for child, parents in design.parents.items():
        left = tuple(first[parent] for parent in parents if parent in first)
        free = not left if design.strong else len(left) < len(parents)
        if child in first and not free:
            waiting[first[child]] = left
    return waiting


def _named(names: Sequence[str], encoding: Encoding | None) -> _Named:
    places = {name: np.array([j]) for j, name in enumerate(names)}
    sources = [np.array([j]) for j in range(len(names))]
    if encoding is not None:
        sources = encoding.sources
        places |= dict(zip(encoding.frame_names, sources, strict=True))
    return _Named(sources, places, names[0], len(names), encoding is not None)


def _columns(argument: str, entry: Any, named: _Named) -> np.ndarray:
    """Find the columns that one name or place refers to, i64[k]."""
    if isinstance(entry, str) and entry in named.places:
        return named.places[entry]
    place = not isinstance(entry, str | bool | np.bool_) and hasattr(entry, "__index__")
    if place and named.framed and str(int(entry)) in named.places:
        return _labelled(argument, int(entry), named)
    if not place or not 0 <= int(entry) < len(named.sources):
        raise ValueError(
            f"{argument}: got {entry!r}, needs names of columns, such as {named.first!r}, or "
            f"indices from 0 to {len(named.sources) - 1}"
        )
    return named.sources[int(entry)]


def _labelled(argument: str, entry: int, named: _Named) -> np.ndarray:
    """Find the columns whose label is a whole number, unless it is the place of others too."""
    own = named.places[str(entry)]
    if 0 <= entry < len(named.sources) and not np.array_equal(own, named.sources[entry]):
        there = next(
            name for name, at in named.places.items() if np.array_equal(at, named.sources[entry])
        )
        raise ValueError(
            f"{argument}: got {entry}, which is the label of one column and the place of another, "
            f"{there!r}; pass the label as text, {str(entry)!r} or {there!r}"
        )
    return own


def _listed(value: Any) -> list[Any]:
    single = isinstance(value, str) or (hasattr(value, "__index__") and not np.ndim(value))
    return [value] if single else list(value)


def _in_order(value: Any, labels: Sequence[str]) -> Any:
    """Put a pandas Series whose index names all columns into their order; leave all else alone."""
    index = getattr(value, "index", None)
    if index is None or callable(index):  # a list has a method of that name
        return value
    given = [str(entry) for entry in index]
    if len(given) != len(labels) or set(given) != set(labels):
        return value
    entries = dict(zip(given, value, strict=True))
    return [entries[label] for label in labels]


def _always(value: Any, named: _Named) -> np.ndarray:
    given = [] if value is None else _listed(value)
    if given and all(isinstance(entry, bool | np.bool_) for entry in given):
        if len(given) != len(named.sources):
            raise ValueError(
                f"always: got {len(given)} truth values, needs one for each of the "
                f"{len(named.sources)} columns, or names or indices"
            )
        given = [int(place) for place in np.flatnonzero(given)]
    whole = all(isinstance(entry, int | np.integer) for entry in given)
    if whole and len(given) == len(named.sources) > 2 and {int(entry) for entry in given} == {0, 1}:
        raise ValueError(
            f"always: got {value!r:.60}, which may be truth values or the indices 0 and 1; pass "
            "booleans or [0, 1]"
        )
    chosen = [_columns("always", entry, named) for entry in given]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *chosen]))


def _groups(value: Any, named: _Named, *, whole: bool) -> np.ndarray:
    count = len(named.sources)
    if isinstance(value, Mapping):
        return _groups_by_name(value, named)
    labels = [None] * count if value is None else list(value)
    of = "the data frame" if whole else "X"
    if isinstance(value, str) or len(labels) != count:
        raise ValueError(
            f"groups: got {value!r:.60}, needs a label for each of the {count} columns of {of}, "
            "or a mapping from labels to columns, such as {'pathway': ['a', 'b']}"
        )
    group = np.zeros(named.p, np.int64)
    seen: dict[Any, int] = {}
    for place, label in enumerate(labels):
        columns = named.sources[place]
        if label is None:
            group[columns] = columns[0]
            continue
        if isinstance(label, bool | np.bool_) or not (
            isinstance(label, str) or hasattr(label, "__index__")
        ):
            raise ValueError(
                f"groups: got {label!r} for column {place}, needs an integer or a name, or None "
                "for a column on its own"
            )
        group[columns] = seen.setdefault(label, int(columns[0]))
    return group


def _groups_by_name(value: Mapping[Any, Any], named: _Named) -> np.ndarray:
    """Read a mapping from labels to the columns of each group."""
    group = np.zeros(named.p, np.int64)
    for own in named.sources:
        group[own] = own[0]
    of: dict[int, Any] = {}
    for label, members in value.items():
        columns = [_columns("groups", entry, named) for entry in _listed(members)]
        if not columns:
            raise ValueError(f"groups: got no column for {label!r}, needs one or more")
        for j in np.concatenate(columns):
            if of.setdefault(int(j), label) != label:
                raise ValueError(
                    f"groups: got a column that is in {of[int(j)]!r} and in {label!r}, needs one "
                    "group for a column"
                )
        group[np.concatenate(columns)] = min(int(own[0]) for own in columns)
    return group


def _parents(
    value: Any, named: _Named, group: np.ndarray, names: Sequence[str]
) -> dict[int, tuple[int, ...]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(
            f"requires: got {value!r:.60}, needs a mapping from a column to those it waits for, "
            "such as {'a:b': ['a', 'b']}"
        )
    parents: dict[int, tuple[int, ...]] = {}
    for child, own in value.items():
        lead = int(group[_columns("requires", child, named)[0]])
        places = [_columns("requires", entry, named)[0] for entry in _listed(own)]
        # The columns of a group may each have been given parents of their own.
        leads = dict.fromkeys([*parents.get(lead, ()), *(int(group[place]) for place in places)])
        if not leads:
            raise ValueError(f"requires: got no column that {child!r} waits for, needs one or more")
        parents[lead] = tuple(leads)
    try:
        order = list(graphlib.TopologicalSorter(parents).static_order())
    except graphlib.CycleError as error:
        circle = ", ".join(repr(names[j]) for j in error.args[1])
        raise ValueError(
            f"requires: got columns that wait for one another ({circle}), needs an order; drop one"
        ) from None
    return {lead: parents[lead] for lead in order if lead in parents}


def _log_odds(
    value: Any, named: _Named, group: np.ndarray, names: Sequence[str]
) -> np.ndarray | None:
    if value is None:
        return None
    count = len(named.sources)
    if isinstance(value, Mapping):
        odds = np.ones(count)
        place_of = {int(j): place for place, own in enumerate(named.sources) for j in own}
        at = [place_of[int(_columns("inclusion_odds", entry, named)[0])] for entry in value]
        lead = np.array([group[own[0]] for own in named.sources])
        # The factor of one member is that of its group. Those of the others are checked below.
        for place, factor in zip(at, value.values(), strict=True):
            odds[lead == lead[place]] = factor
        for place, factor in zip(at, value.values(), strict=True):
            odds[place] = factor
    else:
        odds = np.asarray(value, np.float64)
    if odds.shape != (count,) or not np.all((odds > 0) & np.isfinite(odds)):
        raise ValueError(
            f"inclusion_odds: got {value!r:.60}, needs a positive finite number for each of the "
            f"{count} columns; to keep a column in pass always=, to keep it out drop it from X"
        )
    each = np.zeros(named.p)
    for columns, own in zip(named.sources, odds, strict=True):
        each[columns] = own
    differs = np.flatnonzero(each != each[group])
    if len(differs):
        j = int(differs[0])
        raise ValueError(
            f"inclusion_odds: got {each[j]:g} for {names[j]!r} and {each[group[j]]:g} for "
            f"{names[int(group[j])]!r} of the same group, needs one factor for a group"
        )
    return np.log(each)
