# SPDX-License-Identifier: Apache-2.0
"""Turn rows into Markdown.

    python -m benchmarks.report --out docs/results.md --figures docs/figures \
        --readme README.md --page docs/what-it-does.md

A section an experiment, made of its rows in `benchmarks/results/` and of nothing else. One joins by
an entry in `SECTIONS`, and with figures by one in `FIGURES`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from aeb.cli.usage import UsageError, complain, parse
from benchmarks import harness, summary
from benchmarks.compression import figure as compression_figure
from benchmarks.compression import page as compression_page
from benchmarks.compression import run as compress
from benchmarks.compression import table as compression_table
from benchmarks.convergence import figure as convergence_figure
from benchmarks.convergence import run as convergence
from benchmarks.convergence import table as convergence_table
from benchmarks.demo import run as demo
from benchmarks.demo import table as demo_table
from benchmarks.images.adversarial import figure as adversarial_figure
from benchmarks.images.adversarial import run as adversarial
from benchmarks.images.adversarial import table as adversarial_table
from benchmarks.images.classification import run as classification
from benchmarks.images.classification import table as classification_table
from benchmarks.regression import run as regression
from benchmarks.regression import table as regression_table
from benchmarks.scaling import run as scaling
from benchmarks.scaling import table as scaling_table
from benchmarks.simulation import figure as simulation_figure
from benchmarks.simulation import run as simulation
from benchmarks.simulation import table as simulation_table
from benchmarks.speed import figure as speed_figure
from benchmarks.speed import run as speed
from benchmarks.speed import table as speed_table
from benchmarks.uci import figure as uci_figure
from benchmarks.uci import run as uci
from benchmarks.uci import table as uci_table

__all__ = ["FIGURES", "SECTIONS", "main"]

SECTIONS: dict[str, harness.Section] = {
    simulation.NAME: simulation_table.report,
    regression.NAME: regression_table.report,
    convergence.NAME: convergence_table.report,
    uci.NAME: uci_table.report,
    classification.NAME: classification_table.report,
    adversarial.NAME: adversarial_table.report,
    compress.NAME: compression_table.report,
    speed.NAME: speed_table.report,
    scaling.NAME: scaling_table.report,
}
"""Experiment to what makes its section."""

FIGURES: dict[str, harness.Figure] = {
    simulation.NAME: simulation_figure.figure,
    convergence.NAME: convergence_figure.figure,
    uci.NAME: uci_figure.figure,
    compress.NAME: compression_figure.figure,
    adversarial.NAME: adversarial_figure.figure,
    speed.NAME: speed_figure.figure,
}
"""Experiment to what draws its figures."""


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
    """File to put the tables of `compression.page` into, between their marks."""


def main(args: Sequence[str] | None = None) -> int:
    """Make the report; returns the exit code, 2 where the input was at fault."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        settings: Report = parse(Report, words, prog="report", description=Report.__doc__ or "")
        rows = {
            script: harness.Results(settings.results / f"{script}.jsonl") for script in SECTIONS
        }
        text = "\n".join(
            section(settings.preset, rows[script]) for script, section in SECTIONS.items()
        )
        if settings.figures is not None:
            for script, draw in FIGURES.items():
                draw(settings.preset, rows[script], settings.figures)
        if settings.readme is not None:
            block = summary.summary(settings.results)
            text_of = summary.put_into(settings.readme.read_text(), block)
            shown = demo_table.block(harness.Results(settings.results / f"{demo.NAME}.jsonl"))
            settings.readme.write_text(summary.put_into(text_of, shown, "demo"))
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
