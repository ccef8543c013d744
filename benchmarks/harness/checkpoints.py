# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a unit that takes long, with the seconds spent on it so far."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypeVar

import numpy as np

from aeb import checkpoint
from aeb.cli.usage import UsageError
from aeb.files.archive import DamagedFileError
from benchmarks.harness import limit

__all__ = ["Checkpoints"]

T = TypeVar("T")


class Checkpoints:
    """The checkpoints in one folder; its clock starts when it is made.

    Args:
        folder: where they live; made when the first is saved.
        every: seconds between two of them.
    """

    def __init__(self, folder: Path, every: float) -> None:
        self.folder, self.every = folder, every
        self._began = self._saved = time.monotonic()
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of work, those before an interruption included up to the last checkpoint."""
        return self._before + time.monotonic() - self._began

    def restore(self, tree: T) -> T:
        """Read the newest tree, or return the one given where there is none.

        Raises:
            UsageError: what the folder holds is of another kind of run.
        """
        if checkpoint.latest_step(self.folder) is None:
            return tree
        try:
            _, (tree, before) = checkpoint.restore(self.folder, (tree, np.zeros(())))
        except DamagedFileError:
            raise
        except ValueError as error:
            raise UsageError(
                f"work: {self.folder} does not fit this version; delete it ({error})"
            ) from error
        self._before = float(before)
        return tree

    def save(self, step: int, tree: object) -> None:
        """Save."""
        checkpoint.save(self.folder, step, (tree, np.asarray(self.seconds)))
        self._saved = time.monotonic()

    def save_if_due(self, step: int, tree: object) -> None:
        """Save where the last time is long enough ago, or the seconds of the call are over.

        Raises:
            OutOfTimeError: they are over; the tree is saved.
        """
        over = limit.is_over()
        if over or time.monotonic() - self._saved >= self.every:
            self.save(step, tree)
        if over:
            raise limit.OutOfTimeError
