# SPDX-License-Identifier: Apache-2.0
"""What a call takes: seconds, and, on Linux, the most memory that was resident meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

__all__ = ["Seconds", "of_row", "peak_bytes", "reset_peak", "timed", "timed_compiled"]

T = TypeVar("T")

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


class Seconds(NamedTuple):
    """Seconds of a call."""

    clock: float
    cpu: float  # of all threads


def timed(call: Callable[[], T]) -> tuple[Seconds, T]:
    """Call, and return the seconds beside the result."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = call()
    return Seconds(time.perf_counter() - clock, time.process_time() - cpu), result


def timed_compiled(call: Callable[[], T], new: bool) -> tuple[Seconds, Seconds | None, T]:
    """Call, and once more where the first call has to import or to compile.

    Returns:
        The seconds of the last call, those of the first where there were two, and the result.
    """
    first, result = timed(call)
    if not new:
        return first, None, result
    again, result = timed(call)
    return again, first, result


def of_row(spent: Seconds, first: Seconds | None, packages: Iterable[str]) -> dict[str, Any]:
    """Return what a row says of its cost, and of the versions of what a method needs."""
    return {
        "seconds": spent.clock,
        "cpu_seconds": spent.cpu,
        "first_call": None if first is None else first._asdict(),
        "packages": {name: metadata.version(name) for name in packages},
    }


def reset_peak() -> bool:
    """Set the mark of the peak to what is resident now; return whether that was possible."""
    try:
        RESET.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """Return the peak since the mark was set, in bytes; None where there is none to read."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    kibibytes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(kibibytes[0]) if kibibytes else None
