# SPDX-License-Identifier: Apache-2.0
"""What a call takes: seconds, and, on Linux, the most memory that was resident meanwhile."""

import time
from collections.abc import Callable, Hashable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")

CALLED: set[Hashable] = set()
"""What has been called in this process, and so is imported and compiled."""


class Seconds(NamedTuple):
    """Seconds of a call."""

    clock: float
    cpu: float  # of all threads


def timed(call: Callable[[], T]) -> tuple[Seconds, T]:
    """Call, and return the seconds beside the result."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = call()
    return Seconds(time.perf_counter() - clock, time.process_time() - cpu), result


def spent(
    called: Hashable, call: Callable[[], T], packages: Iterable[str], *, twice: bool = True
) -> tuple[dict[str, Any], T]:
    """Call, and once more where the first call had to import or to compile: the last one counts.

    Args:
        called: what is compiled once in a process, such as a method and a shape.
        call: to time.
        packages: those whose versions a row tells, by their names on the package index.
        twice: False where a call is too long for that; then compiling is in its seconds.

    Returns:
        What a row says of its cost, and the result.
    """
    new = called not in CALLED
    CALLED.add(called)
    first, result = timed(call)
    last = first
    if new and twice:
        last, result = timed(call)
    told = {
        "seconds": last.clock,
        "cpu_seconds": last.cpu,
        "first_call": first._asdict() if new else None,
        "packages": {name: metadata.version(name) for name in packages},
    }
    return told, result


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
