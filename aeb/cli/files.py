# SPDX-License-Identifier: Apache-2.0
"""`aeb inspect` and `aeb data`: look into a sparse file, make the image sets ready."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from aeb.cli.usage import UsageError
from aeb.data import DataError, load
from aeb.files.sparse_file import inspect_sparse

__all__ = ["Data", "Inspect"]

ImageSet = Literal["mnist", "fashion_mnist", "cifar10"]


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Show what a sparse model file holds: metadata, and zeros and bytes by leaf."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A file written by aeb demo, aeb compress or aeb.save_sparse."""

    def check(self) -> None:
        """Nothing to check before the file is opened."""

    def __call__(self) -> None:
        """Print it."""
        try:
            print(inspect_sparse(self.file))
        except ValueError as error:
            raise UsageError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Find, decode and cache image sets; TFDS downloads those that are not there, if it can."""

    names: tyro.conf.Positional[tuple[ImageSet, ...]] = ("mnist", "fashion_mnist", "cifar10")
    """Which sets."""
    data_dir: Path | None = None
    """Folder of the sets that TFDS prepared; by default $TFDS_DATA_DIR."""

    def __call__(self) -> None:
        """Load each set once."""
        for name in self.names:
            dataset = load(name, data_dir=self.data_dir)
            train, test = len(dataset.train["label"]), len(dataset.test["label"])
            print(f"{name}: ready, {train:,} training and {test:,} test images")


@dataclasses.dataclass(frozen=True)
class Status:
    """Say which image sets are ready, without downloading any."""

    def __call__(self) -> None:
        """Print a line a set."""
        for name in ("digits", "mnist", "fashion_mnist", "cifar10"):
            try:
                load(name, download=False)
            except DataError as error:
                print(f"{name}: {error}")
            else:
                print(f"{name}: ready")


@dataclasses.dataclass(frozen=True)
class Data:
    """Make image sets ready, or see which are."""

    command: (
        Annotated[Prepare, tyro.conf.subcommand("prepare")]
        | Annotated[Status, tyro.conf.subcommand("status")]
    )

    def check(self) -> None:
        """Nothing to check before the sets are looked for."""

    def __call__(self) -> None:
        """Run the subcommand."""
        self.command()
