# SPDX-License-Identifier: Apache-2.0
"""`aeb inspect` and `aeb data`: look into a sparse file, and prepare the image sets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from aeb.cli.output import AsJson, Outcome
from aeb.cli.rows import SETS
from aeb.data import load
from aeb.data.images import locate
from aeb.files.sparse_file import inspect_sparse
from aeb.usage import UsageError

__all__ = ["Data", "Inspect"]

ImageSet = Literal["mnist", "fashion_mnist", "cifar10"]


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Show what a sparse model file holds: metadata, and zeros and bytes by leaf."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A file written by aeb demo, aeb compress or aeb.save_sparse."""
    as_json: AsJson = False
    """Print one JSON object to stdout. Everything else goes to stderr."""

    def check(self) -> None:
        """Do nothing: there is nothing to check before the file is opened."""

    def __call__(self) -> Outcome:
        """Read it."""
        try:
            info = inspect_sparse(self.file)
        except ValueError as error:
            raise UsageError(str(error)) from error
        facts = {
            "file": str(self.file),
            "file_bytes": info.file_bytes,
            "module": info.module,
            "metadata": info.metadata,
        }
        return Outcome(str(info), facts | info.report.to_dict())


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Find, decode and cache image sets. TFDS downloads missing ones if it can."""

    names: tyro.conf.Positional[tuple[ImageSet, ...]] = ("mnist", "fashion_mnist", "cifar10")
    """The image sets to prepare."""
    data_dir: Path | None = None
    """The folder of the sets that TFDS prepared. By default $TFDS_DATA_DIR."""
    as_json: AsJson = False
    """Print one JSON object to stdout. Everything else goes to stderr."""

    def __call__(self) -> Outcome:
        """Load each set once."""
        lines, sets = [], {}
        for name in self.names:
            dataset = load(name, data_dir=self.data_dir)
            train, test = len(dataset.train["label"]), len(dataset.test["label"])
            lines.append(f"{name}: ready, {train:,} training and {test:,} test images")
            sets[name] = {"ready": True, "train": train, "test": test}
        return Outcome("\n".join(lines), {"sets": sets})


@dataclasses.dataclass(frozen=True)
class Status:
    """Show which image sets are there, without downloading or decoding any."""

    as_json: AsJson = False
    """Print one JSON object to stdout. Everything else goes to stderr."""

    def __call__(self) -> Outcome:
        """Look for each set."""
        lines, sets = [], {}
        for name in SETS:
            found = locate(name)
            lines.append(f"{name}: {found or 'not there; `aeb data prepare` says what to do'}")
            sets[name] = {"ready": found is not None, "source": found and str(found)}
        return Outcome("\n".join(lines), {"sets": sets})


@dataclasses.dataclass(frozen=True)
class Data:
    """Prepare image sets, or show which are ready."""

    command: (
        Annotated[Prepare, tyro.conf.subcommand("prepare")]
        | Annotated[Status, tyro.conf.subcommand("status")]
    )

    def check(self) -> None:
        """Do nothing: there is nothing to check before the sets are looked for."""

    @property
    def as_json(self) -> bool:
        """Whether the subcommand got `--json`."""
        return self.command.as_json

    def __call__(self) -> Outcome:
        """Run the subcommand."""
        return self.command()
