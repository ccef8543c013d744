# SPDX-License-Identifier: Apache-2.0
"""Turn rows into Markdown.

    python -m benchmarks.report --out docs/results.md --figures docs/figures \
        --findings docs/findings.md --page docs/what-it-does.md --speed docs/speed.md

A section an experiment, made of its rows in `benchmarks/results/` and of nothing else. One joins by
its folder in `EXPERIMENTS`, and with figures by that in `DRAWN`.
"""

import dataclasses
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from aeb.usage import UsageError, complain, parse
from benchmarks import harness, overview, summary
from benchmarks.compression import table as compression_table
from benchmarks.demo import table as demo_table
from benchmarks.speed import table as speed_table

__all__ = ["FIGURES", "SECTIONS", "main"]

DRAWN = (
    *("simulation", "selection", "convergence", "uci", "compression", "images.adversarial"),
    "speed",
)
"""Experiments with a figure."""

EXPERIMENTS = (
    *("simulation", "regression", "selection", "logistic", "convergence", "uci"),
    *("images.classification", "images.adversarial", "compression", "speed", "scaling"),
)
"""Folders of the experiments, in the order of their sections."""


def _room(folder: str, name: str) -> Any:
    return importlib.import_module(f"benchmarks.{folder}.{name}")


SECTIONS: dict[str, harness.Section] = {
    _room(folder, "run").NAME: _room(folder, "table").report for folder in EXPERIMENTS
}
"""Experiment to what makes its section."""

FIGURES: dict[str, harness.Figure] = {
    _room(folder, "run").NAME: _room(folder, "figure").figure for folder in DRAWN
}
"""Experiment to what draws its figures."""


HEAD = """\
# All results

Each section names the command that made its rows. The text below a table says what its columns are,
and whether ± is a standard error or a standard deviation. "Not run" keeps the place of a run that
has not been made. [The findings on one page](findings.md) has the figures that matter most.

"""
"""What stands above the sections."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Make the tables from the rows."""

    # Which configurations to show; "not run" stands where one has no row.
    preset: Literal["smoke", "cpu", "paper"] = "paper"
    results: Path = Path(__file__).resolve().parent / "results"  # folder of the rows
    out: Path | None = None  # file to write; by default the tables are printed
    figures: Path | None = None  # folder to draw the figures into; by default none are drawn
    # Page to put the figures that matter most and the demo's into, between their marks.
    findings: Path | None = None
    page: Path | None = None  # file to put the tables of compression into, between their marks
    speed: Path | None = None  # file to put the tables of speed into, between their marks


def main(args: Sequence[str] | None = None) -> int:
    """Make the report; returns the exit code, 2 where the input was at fault."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        settings: Report = parse(Report, words, prog="report", description=Report.__doc__ or "")
        rows = {
            script: harness.Results(settings.results / f"{script}.jsonl") for script in SECTIONS
        }
        text = HEAD + "\n".join(
            section(settings.preset, rows[script]) for script, section in SECTIONS.items()
        )
        if settings.figures is not None:
            for script, draw in FIGURES.items():
                draw(settings.preset, rows[script], settings.figures)
            if overview.has_rows(settings.results):
                overview.draw(settings.results, settings.figures)
        if settings.findings is not None:
            block = summary.summary(settings.results)
            text_of = summary.put_into(settings.findings.read_text(), block)
            shown = demo_table.block(harness.Results(settings.results / "demo.jsonl"))
            settings.findings.write_text(summary.put_into(text_of, shown, "demo"))
        if settings.page is not None:
            _fill(settings.page, compression_table.blocks(rows["compression"]))
        if settings.speed is not None:
            _fill(settings.speed, speed_table.blocks(rows["speed"]))
        if settings.out is None:
            print(text, end="")
        else:
            settings.out.write_text(text)
    except (UsageError, ValueError, OSError) as error:
        return complain("report", str(error))
    return 0


def _fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Put blocks between the marks of a page that have their names."""
    text = page.read_text()
    for name, block in blocks.items():
        text = summary.put_into(text, block, name)
    page.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
