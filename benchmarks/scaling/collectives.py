# SPDX-License-Identifier: Apache-2.0
"""What a compiled program sends between devices, read from its optimized HLO text.

A collective counts as often as the loops around it turn, at most, and each branch of a conditional
as if it were taken. Bytes are those of its result on one device. A ring sends from each of n
devices

    all-reduce            2 (n - 1) / n  of the result
    all-gather, to-all      (n - 1) / n  of the result
    reduce-scatter          (n - 1)      times the result
    collective-permute    the result
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

DIGITS = 11
"""Turns at most of the search for a threshold among float32 weights; it may stop before."""

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_OPERATION = re.compile(rf"= (?P<type>\(.*?\)|\S+) (?P<kind>{'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]")
_CALLED = re.compile(
    r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TURNS = re.compile(r'known_trip_count"?:\{"n":"(\d+)"\}')


class Collective(NamedTuple):
    """One collective operation of a program."""

    kind: str
    bytes: int  # of its result, on one device
    times: int  # that it runs in one call of the program

    def sent(self, devices: int) -> float:
        """Count the bytes that a ring of devices sends from each, all runs together."""
        part = {
            "all-reduce": 2 * (devices - 1) / devices,
            "reduce-scatter": devices - 1,
            "collective-permute": 1 if devices > 1 else 0,
        }.get(self.kind, (devices - 1) / devices)
        return part * self.bytes * self.times


def collectives(text: str, *, most: int | None = None) -> list[Collective]:
    """List the collectives of a program.

    Args:
        text: `compiled.as_text()`, of a program for all devices.
        most: turns of a loop that tells no trip count, for it stops when it is done.

    Returns:
        One for each operation that is reached from the entry.

    Raises:
        ValueError: the text has no entry, or a loop that holds a collective tells no trip count and
            `most` is None.
    """
    bodies, entry = _computations(text)
    found: list[Collective] = []

    def walk(name: str, times: int) -> None:
        for line in bodies.get(name, ()):
            match = _OPERATION.search(line)
            if match:
                found.append(Collective(match["kind"], _bytes(match["type"]), times))
                continue
            turns = times
            if " while(" in line:
                count = _TURNS.search(line)
                unknown = count is None and any(_sends(bodies, name) for name in _called(line))
                if unknown and most is None:
                    raise ValueError(f"text: a loop that sends has no trip count: {line.strip()}")
                turns = times * (int(count[1]) if count else (most or 1) if unknown else 1)
            for called in _called(line):
                walk(called, turns)

    walk(entry, 1)
    return found


def summed(found: Iterable[Collective], devices: int) -> dict[str, Any]:
    """Add up by kind.

    Returns:
        For each kind that there is: `calls` in a step, `bytes` of the results, `sent` bytes from
        each device.
    """
    totals: dict[str, Any] = {}
    for collective in found:
        entry = totals.setdefault(collective.kind, {"calls": 0, "bytes": 0, "sent": 0.0})
        entry["calls"] += collective.times
        entry["bytes"] += collective.bytes * collective.times
        entry["sent"] += collective.sent(devices)
    return totals


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Part a program into its computations."""
    bodies: dict[str, list[str]] = {}
    entry, lines = "", None
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith((" ", "HloModule")):
            words = line.split()
            name = words[1 if words[0] == "ENTRY" else 0].lstrip("%").partition("(")[0]
            lines = bodies.setdefault(name, [])
            entry = name if words[0] == "ENTRY" else entry
        elif line.startswith("}"):
            lines = None
        elif lines is not None:
            lines.append(line)
    if not entry:
        raise ValueError("text: no entry computation; pass the text of a compiled program")
    return bodies, entry


def _called(line: str) -> Iterator[str]:
    """Name the computations that an operation calls."""
    yield from (match[1] for match in _CALLED.finditer(line))
    for match in _BRANCHES.finditer(line):
        yield from (name.strip().lstrip("%") for name in match[1].split(","))


def _sends(bodies: dict[str, list[str]], name: str) -> bool:
    """Return whether a computation, or one that it calls, holds a collective."""
    return any(
        _OPERATION.search(line) or any(_sends(bodies, called) for called in _called(line))
        for line in bodies.get(name, ())
    )


def _bytes(types: str) -> int:
    """Count the bytes of a type, or of all arrays of a tuple."""
    total = 0
    for name, bits, shape in _ARRAY.findall(types):
        width = 1 if name == "pred" else int(bits) // 8
        total += width * math.prod(int(n) for n in shape.split(",") if n)
    return total
