# SPDX-License-Identifier: Apache-2.0
"""`aeb compare`: show runs side by side, with the settings that differ and the scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from aeb.cli.output import AsJson, Outcome
from aeb.runs.folder import COLUMNS, Run, read_run, written
from aeb.usage import UsageError

__all__ = ["Compare"]


@dataclasses.dataclass(frozen=True)
class Compare:
    """Show runs side by side: the settings that differ, and the scores."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...")]
    """Two or more folders of aeb demo or aeb compress."""
    as_json: AsJson = False
    """Print one JSON object to stdout. Everything else goes to stderr."""

    def check(self) -> None:
        """Raise a ValueError if there is nothing to compare."""
        if len(self.runs) < 2:
            raise ValueError(f"RUN: got {len(self.runs)} of them; name two or more")

    def __call__(self) -> Outcome:
        """Read the runs, and show them."""
        runs = [read_run(folder) for folder in self.runs]
        unfinished = [str(run.folder) for run in runs if not run.scores[1]]
        if unfinished:
            raise UsageError(
                f"RUN: {unfinished[0]} has no scores yet; the same aeb compress finishes it"
            )
        differ = _differing(runs)
        facts = {
            "settings_that_differ": differ,
            "runs": [
                {
                    "folder": str(run.folder),
                    "title": run.title,
                    "rows": run.scores[0],
                    "settings": run.settings,
                    "scores": run.scores[1],
                }
                for run in runs
            ],
        }
        return Outcome(_text(runs, differ), facts)


def _differing(runs: list[Run]) -> dict[str, list[Any]]:
    """List the settings in which runs differ. A missing setting is None."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name != "out")
    values = {name: [run.settings.get(name) for run in runs] for name in names}
    return {name: each for name, each in values.items() if any(v != each[0] for v in each)}


def _text(runs: list[Run], differ: dict[str, list[Any]]) -> str:
    folders = [str(run.folder) for run in runs]
    if differ:
        rows = [("settings that differ", *folders)]
        rows += [(name, *map(str, values)) for name, values in differ.items()]
    else:
        rows = [("the settings are the same", *folders)]
    scores = [run.scores for run in runs]
    used = [
        key for key in COLUMNS if any(key in mean for _, each in scores for mean in each.values())
    ]
    table = [("run", "network", "rows", *(COLUMNS[key][0] for key in used))]
    for folder, run, (split, each) in zip(folders, runs, scores, strict=True):
        for name, mean in each.items():
            cells = (written(key, mean.get(key)) for key in used)
            table.append((folder, run.label(name), split, *cells))
    lines = [*_laid_out(rows, 9), "", *_laid_out(table, 3)]
    places = ("data", "test", "limit_images", "validation")
    scored_on = {
        (split, *(run.settings.get(name) for name in places))
        for run, (split, _) in zip(runs, scores, strict=True)
    }
    if len(scored_on) > 1:
        lines.append("(not all of them were scored on the same rows)")
    return "\n".join(lines)


def _laid_out(rows: list[tuple[str, ...]], texts: int) -> list[str]:
    """Align the columns of a table. The first columns are texts, the others numbers."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if at < texts else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
