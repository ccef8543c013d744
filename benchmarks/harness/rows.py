# SPDX-License-Identifier: Apache-2.0
"""Rows of results on disk: one JSON object a line, appended whole or not at all.

All rows of a unit of work go out in one write to a file opened for appending, and reach the disk
before the call returns; a write that falls short is taken back. Who is killed in the middle leaves
at most a torn last line: the next call moves it to `<file>.torn` and says so. Damage anywhere else
is not ours to mend, so the file is left alone and the line is named.

Two rows are of the same run where their configurations, as canonical JSON, and their seeds agree.
"""

import contextlib
import fcntl
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from aeb.cli.usage import UsageError

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
        path: the `.jsonl` file; made when the first row is appended.
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
        """Read all whole rows by `row_key`; of two with one key, the later counts.

        Raises:
            UsageError: a line that is not the last is no row.
        """
        content = self.path.read_bytes() if self.path.exists() else b""
        whole, last = _cut(content)
        rows = {}
        if _row(last) is not None:  # only its newline is missing
            whole = content
        for number, line in enumerate(whole.splitlines(), 1):
            row = _row(line)
            if row is None:
                raise UsageError(
                    f"results: line {number} of {self.path} is damaged; mend or remove that line"
                )
            rows[row_key(row["config"], row["seed"])] = row
        return rows

    def mend(self) -> None:
        """Make the file ready for appending: make its folder, set a torn last line aside.

        Raises:
            UsageError: the folder or the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked() as file:
                self._set_torn_line_aside(file)
        except OSError as error:
            raise UsageError(f"results: cannot write {self.path} ({error.strerror})") from error

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, all or none.

        Raises:
            ValueError: a row lacks a field, has one too many, or holds NaN.
            OSError: the disk did not take them; the file is as it was.
        """
        for row in rows:
            if tuple(row) != FIELDS:
                raise ValueError(f"rows: got the fields {tuple(row)}, needs {FIELDS}")
        content = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        with self._locked() as file:
            self._set_torn_line_aside(file)
            size = os.fstat(file).st_size
            try:
                if os.write(file, content) != len(content):
                    raise OSError(f"results: {self.path} took only a part of the rows")
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file for reading and appending, with no other process in it."""
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _set_torn_line_aside(self, file: int) -> None:
        content = os.pread(file, os.fstat(file).st_size, 0)
        whole, torn = _cut(content)
        if not torn:
            return
        if _row(torn) is not None:  # only its newline is missing
            os.write(file, b"\n")
            return
        aside = self.path.with_name(self.path.name + ".torn")
        with aside.open("ab") as other:
            other.write(torn + b"\n")
            other.flush()
            os.fsync(other.fileno())
        os.ftruncate(file, len(whole))
        print(
            f"results: {self.path} ended in a torn line of {len(torn)} bytes, "
            f"now in {aside.name}; its run is done again",
            file=sys.stderr,
        )


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


def _cut(content: bytes) -> tuple[bytes, bytes]:
    """Part the lines that ended from the one that did not."""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def _row(line: bytes) -> dict[str, Any] | None:
    """Read a line; None where it is no row."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and set(FIELDS) <= set(row) else None
