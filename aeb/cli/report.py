# SPDX-License-Identifier: Apache-2.0
"""`aeb report`: make one self-contained HTML page from the folder of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from aeb.cli.output import AsJson, Outcome
from aeb.files.atomic import replacing
from aeb.runs import health, page, read_run

__all__ = ["Report"]


@dataclasses.dataclass(frozen=True)
class Report:
    """Make one HTML page of a run: curves, zeros by layer, calibration, health, settings."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run of aeb demo or aeb compress."""
    to: Path | None = None
    """The file to write. By default report.html in that folder."""
    as_json: AsJson = False
    """Print one JSON object to stdout. Everything else goes to stderr."""

    def check(self) -> None:
        """Do nothing: there is nothing to check before the folder is read."""

    def __call__(self) -> Outcome:
        """Read the run, and write the page."""
        run = read_run(self.run)
        file = self.run / "report.html" if self.to is None else self.to
        with replacing(file) as target:
            target.write(page(run).encode())
        lines = health(run)
        text = [f"{'ok  ' if line.is_well else 'look'}  {line.text}" for line in lines]
        facts = {
            "file": str(file),
            "health": [{"is_well": line.is_well, "text": line.text} for line in lines],
        }
        return Outcome("\n".join([*text, "", f"{file}: the page"]), facts)
