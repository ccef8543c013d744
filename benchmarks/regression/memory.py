# SPDX-License-Identifier: Apache-2.0
"""The most memory that this process had resident since the mark was last reset; Linux only."""

from __future__ import annotations

from pathlib import Path

__all__ = ["peak_bytes", "reset_peak"]

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


def reset_peak() -> bool:
    """Set the mark to what is resident now; tell whether that was possible."""
    try:
        RESET.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """Tell the mark in bytes; None where there is none to read."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    kibibytes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(kibibytes[0]) if kibibytes else None
