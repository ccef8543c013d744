# SPDX-License-Identifier: Apache-2.0
"""Turn rows into Markdown.

    python benchmarks/report.py --out docs/results.md --figures docs/figures --readme README.md \
        --page docs/what-it-does.md

A section a script, made of its rows in `benchmarks/results/` and of nothing else. A script joins by
an entry in `SECTIONS`, and with figures by one in `FIGURES`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import adversarial
import adversarial_figure
import adversarial_table
import classification
import classification_table
import compress
import compression_figure
import compression_page
import compression_table
import convergence
import convergence_figure
import convergence_table
import frame
import peers
import peers_table
import scaling
import scaling_table
import simulation
import simulation_figure
import simulation_table
import speed
import speed_figure
import speed_table
import summary
import uci
import uci_figure
import uci_table
from aeb.cli.usage import UsageError, complain, parse

__all__ = ["FIGURES", "SECTIONS", "main"]

SECTIONS = {
    simulation.NAME: simulation_table.report,
    peers.NAME: peers_table.report,
    convergence.NAME: convergence_table.report,
    uci.NAME: uci_table.report,
    classification.NAME: classification_table.report,
    adversarial.NAME: adversarial_table.report,
    compress.NAME: compression_table.report,
    speed.NAME: speed_table.report,
    scaling.NAME: scaling_table.report,
}
"""Script to the function `(preset, results) -> Markdown`."""

FIGURES = {
    simulation.NAME: simulation_figure.figure,
    convergence.NAME: convergence_figure.figure,
    uci.NAME: uci_figure.figure,
    compress.NAME: compression_figure.figure,
    adversarial.NAME: adversarial_figure.figure,
    speed.NAME: speed_figure.figure,
}
"""Script to the function `(preset, results, folder) -> files`."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Make the tables from the rows."""

    preset: Literal["smoke", "cpu", "paper"] = "paper"
    """Which configurations to show; "not run" stands where one has no row."""
    results: Path = Path(__file__).resolve().parent / "results"
    """Folder of the rows."""
    out: Path | None = None
    """File to write; by default the tables are printed."""
    figures: Path | None = None
    """Folder to draw the figures into; by default none are drawn."""
    readme: Path | None = None
    """File to put the few figures of the paper presets into, between its marks."""
    page: Path | None = None
    """File to put the tables of `compression_page` into, between their marks."""


def main(args: Sequence[str] | None = None) -> int:
    """Make the report; returns the exit code, 2 where the input was at fault."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        settings: Report = parse(Report, words, prog="report", description=Report.__doc__ or "")
        rows = {script: frame.Results(settings.results / f"{script}.jsonl") for script in SECTIONS}
        text = "\n".join(
            section(settings.preset, rows[script]) for script, section in SECTIONS.items()
        )
        if settings.figures is not None:
            for script, draw in FIGURES.items():
                draw(settings.preset, rows[script], settings.figures)
        if settings.readme is not None:
            block = summary.summary(settings.results)
            settings.readme.write_text(summary.put_into(settings.readme.read_text(), block))
        if settings.page is not None:
            page = settings.page.read_text()
            for name, block in compression_page.blocks(rows[compress.NAME]).items():
                page = summary.put_into(page, block, name)
            settings.page.write_text(page)
        if settings.out is None:
            print(text, end="")
        else:
            settings.out.write_text(text)
    except (UsageError, ValueError, OSError) as error:
        return complain("report", str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
