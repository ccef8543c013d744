# SPDX-License-Identifier: Apache-2.0
"""Rows of results on disk: one JSON object a line.

All rows of a unit of work are added at once: the file is written anew beside the old one, reaches
the disk, and takes its place. Who is killed in the middle leaves the old file, whole. Processes
that add rows to files of one folder wait for each other. A damaged line is not ours to mend, so the
file is left alone and the line is named.

Two rows are of the same run where their configurations, as canonical JSON, and their seeds agree.
"""

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aeb.files.atomic import replacing
from aeb.usage import UsageError

__all__ = ["Results", "Row", "canonical", "every_row", "paired", "row_key"]

Row = Mapping[str, Any]
"""A row, with the fields below."""

FIELDS = (
    "script",
    "preset",
    "config",
    "seed",
    "commit",
    "hardware",
    "versions",
    "seconds",
    "metrics",
    "date",
)
"""What each row holds, in this order."""


def canonical(value: Any) -> str:
    """Write a value as JSON in one way only: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


K = TypeVar("K")
C = TypeVar("C", bound=Mapping[str, Any])


def row_key(config: Mapping[str, Any], seed: int) -> str:
    """Return what a row is the result of, as text."""
    return canonical([config, seed])


class Results:
    """The rows of one script.

    Args:
        path: the `.jsonl` file; made when the first row is appended. Its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def look_up(
        self, wanted: Iterable[tuple[K, Mapping[str, Any], Iterable[int]]]
    ) -> dict[K, list[Row]]:
        """Read the rows that there are of each cell, in the order of its seeds.

        Args:
            wanted: a name for each cell, its configuration and its seeds.

        Raises:
            UsageError: the rows are damaged.
        """
        rows = self.read()
        looked: dict[K, list[Row]] = {}
        for name, config, seeds in wanted:
            keys = [row_key(config, seed) for seed in seeds]
            looked[name] = [rows[key] for key in keys if key in rows]
        return looked

    def one_each(self, configs: Iterable[C], seed: int) -> list[tuple[C, Row | None]]:
        """Read the row of each configuration at one seed, None where there is none.

        Raises:
            UsageError: the rows are damaged.
        """
        rows = self.read()
        return [(config, rows.get(row_key(config, seed))) for config in configs]

    def read(self) -> dict[str, dict[str, Any]]:
        """Read all rows by `row_key`; of two with one key, the later counts.

        Raises:
            UsageError: a line is no row.
        """
        rows = {}
        for number, line in enumerate(self._content().splitlines(), 1):
            try:
                row = json.loads(line)
                whole = set(FIELDS) <= set(row)
            except (ValueError, TypeError):
                whole = False
            if not whole:
                raise UsageError(
                    f"results: line {number} of {self.path} is damaged; mend or remove that line"
                )
            rows[row_key(row["config"], row["seed"])] = row
        return rows

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, all or none.

        Raises:
            ValueError: a row lacks a field, has one too many, or holds NaN.
            OSError: the disk did not take them; the file is as it was.
        """
        for row in rows:
            if tuple(row) != FIELDS:
                raise ValueError(f"rows: got the fields {tuple(row)}, needs {FIELDS}")
        added = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        with _locked(self.path.parent):
            content = self._content()
            if content and not content.endswith(b"\n"):
                content += b"\n"
            with replacing(self.path) as file:
                file.write(content + added)

    def _content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes that lock the folder out of it."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def every_row(found: Mapping[Any, Iterable[Row]]) -> list[Row]:
    """List the rows of all cells."""
    return [row for rows in found.values() for row in rows]


def paired(ones: Iterable[Row], others: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Pair the rows that have the same seed, in the order of the first."""
    by_seed = {row["seed"]: row for row in others}
    return [(row, by_seed[row["seed"]]) for row in ones if row["seed"] in by_seed]


def finite(value: Any) -> Any:
    """Make metrics fit for JSON: numpy numbers to Python's, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
