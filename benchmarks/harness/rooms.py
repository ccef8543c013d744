# SPDX-License-Identifier: Apache-2.0
"""What `table.py` and `figure.py` of an experiment offer, and which presets they show."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.harness.rows import Results
from benchmarks.harness.runner import Preset

__all__ = ["Figure", "Section", "reduced_too"]

Section = Callable[[Preset, Results], str]
"""`(preset, rows) -> Markdown` of an experiment in the report, "not run" where a configuration has
no row. The rows may be damaged: UsageError."""

Figure = Callable[[Preset, Results, Path], list[Path]]
"""`(preset, rows, folder) -> files` drawn of an experiment; none where there is no row."""


def reduced_too(preset: Preset) -> tuple[Preset, ...]:
    """List the presets to show: beside the paper's, which needs an accelerator, the reduced one."""
    return ("paper", "cpu") if preset == "paper" else (preset,)
