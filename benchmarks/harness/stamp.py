# SPDX-License-Identifier: Apache-2.0
"""What a row says of its making: commit, hardware, versions, date. No name of a machine or user."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import aeb

__all__ = ["stamp"]

ROOT = Path(__file__).resolve().parents[2]

WATCHED = ("aeb", "benchmarks", "pyproject.toml", ":(exclude)benchmarks/results")
"""What makes the tree dirty: all that could change a number, but not the rows themselves."""

INSTRUCTIONS = (
    *("fma", "avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16"),
    *("asimd", "asimdhp", "bf16", "sve", "sve2"),
)
"""Instruction sets by which XLA's sums and products differ in their rounding."""


def stamp() -> dict[str, Any]:
    """Gather the fields of a row that tell how it was made."""
    return {
        "commit": _commit(),
        "hardware": {
            **_cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "accelerator": _accelerator(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")},
            "aeb": aeb.__version__,
        },
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _commit() -> str:
    """The short hash, with "+dirty" where the tree differs from it; "unknown" without git."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return "unknown"
    # An aeb from elsewhere is not what the hash says either.
    elsewhere = Path(aeb.__file__).resolve().parents[1] != ROOT
    changed = elsewhere or _git("status", "--porcelain", "--", *WATCHED)
    return commit + ("+dirty" if changed else "")


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu() -> dict[str, str]:
    """Name the processor, and what makes two of one name round differently.

    A cloud calls many processors by one name; XLA compiles for the family and the instruction sets
    that it finds.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text().partition("\n\n")[0].splitlines() if info.exists() else []
    said = {name.strip(): value.strip() for name, _, value in (s.partition(":") for s in lines)}
    flags = said.get("flags", said.get("Features", "")).split()
    family = [said.get(name, "?") for name in ("cpu family", "model", "stepping")]
    return {
        "cpu": said.get("model name") or platform.processor() or platform.machine(),
        "family": ".".join(family),
        "instructions": " ".join(flag for flag in INSTRUCTIONS if flag in flags),
    }


def _accelerator() -> str | None:
    device = jax.devices()[0]
    return None if device.platform == "cpu" else device.device_kind
