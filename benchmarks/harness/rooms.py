# SPDX-License-Identifier: Apache-2.0
"""What `table.py` and `figure.py` of an experiment offer, and which presets they show."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from benchmarks.harness.rows import Results
from benchmarks.harness.runner import Preset

__all__ = ["Figure", "Section", "reduced_too"]


class Section(Protocol):
    """Make the section of an experiment in the report."""

    def __call__(self, preset: Preset, results: Results) -> str:
        """Make it.

        Args:
            preset: which configurations to look for.
            results: the rows of the experiment.

        Returns:
            Markdown that ends in a newline; "not run" stands where a configuration has no row.

        Raises:
            UsageError: the rows are damaged.
        """


class Figure(Protocol):
    """Draw the figures of an experiment."""

    def __call__(self, preset: Preset, results: Results, folder: Path) -> list[Path]:
        """Draw what there are rows for.

        Args:
            preset: which configurations to look for.
            results: the rows of the experiment.
            folder: where to; made if need be.

        Returns:
            The files written; none where there is no row.

        Raises:
            UsageError: the rows are damaged.
        """


def reduced_too(preset: Preset) -> tuple[Preset, ...]:
    """List the presets to show: beside the paper's, which needs an accelerator, the reduced one."""
    return ("paper", "cpu") if preset == "paper" else (preset,)
