# SPDX-License-Identifier: Apache-2.0
"""Settings by preset, and the loop over units of work that resumes where it was stopped.

A unit is the smallest piece that yields rows: a few configurations, each with a few seeds. Units
whose rows are all there are passed over. A unit works in a folder of its own, named after its
configurations, seeds, commit and versions, where it may keep checkpoints; the folder goes when its
rows are in.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar

from tqdm.auto import tqdm

from aeb.files.archive import DamagedFileError
from aeb.files.lock import alone
from aeb.usage import UsageError, complain, parse
from benchmarks.harness import slices
from benchmarks.harness.ranges import Positive, at_least, check, whole
from benchmarks.harness.rows import Results, Row, canonical, finite, row_key
from benchmarks.harness.stamp import stamp

__all__ = [
    *("Cells", "Figure", "Found", "Measured", "Preset", "Section", "Settings", "Unit"),
    *("choose", "found", "main", "one_row_each", "place_of", "reduced_too", "script"),
]

Preset = Literal["smoke", "cpu", "gpu", "full", "paper"]
"""The names that a preset may have; no script has them all."""

Section = Callable[[Preset, Results], str]
"""`(preset, rows) -> Markdown`, what `table.py` of an experiment offers the report: "not run" where
a configuration has no row. The rows may be damaged: UsageError."""

Figure = Callable[[Preset, Results, Path], list[Path]]
"""`(preset, rows, folder) -> files` drawn, what `figure.py` offers it; none where there is no row.
"""

HERE = Path(__file__).resolve().parents[1]

INTERRUPTED = 130
"""Exit code of a run that was stopped from the keyboard."""

UNFINISHED = 75
"""Exit code of a run that its own limit on seconds stopped."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What every script takes."""

    # Where the other settings start: smoke is under a minute, cpu is the honest reduced size for
    # two cores, gpu is for one accelerator, full has all data and networks of the paper at
    # schedules that two cores can run, paper is the full size; a script has some of them.
    preset: Preset = "smoke"
    seed: Annotated[int, whole(0)] = 0  # of the first repetition; the others count on from it
    results: Path = HERE / "results"  # folder of the rows
    work: Path = HERE / ".work"  # folder of the checkpoints of units that are not finished
    checkpoint_every: Annotated[float, at_least(0.0)] = 30.0  # seconds between two checkpoints
    # Seconds after which to stop at the next checkpoint, with exit code 75; the same command
    # continues. None works to the end.
    limit_seconds: Positive | None = None
    progress: bool = True  # whether to show a progress bar

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(self)

    def units(self) -> list[Unit]:
        """List the work, in the order to do it."""
        # Not a stub: the base holds what scripts share, and each has work of its own.
        raise NotImplementedError


Measured = tuple[float, Sequence[Mapping[str, Any]]]
"""Seconds of work in all, earlier calls that were stopped included, and the metrics of each row."""


class Unit(NamedTuple):
    """A piece of work that yields a row for each of its configurations and seeds.

    Attributes:
        name: for the progress bar.
        configs: all that fixes the numbers but the seed, as JSON can hold it.
        seeds: one a row of each configuration.
        size: how much work it is, in the unit of `run`'s reports.
        run: `(folder, report) -> measured`, the metrics for each seed of the first configuration,
            then of the next. It keeps checkpoints in the folder, goes on from those it finds, and
            calls `report(amount)` on the way.
    """

    name: str
    configs: tuple[Mapping[str, Any], ...]
    seeds: tuple[int, ...]
    size: int
    run: Callable[[Path, Callable[[int], None]], Measured]

    @property
    def cases(self) -> list[tuple[Mapping[str, Any], int]]:
        """Configuration and seed of each row, in the order of the metrics."""
        return [(config, seed) for config in self.configs for seed in self.seeds]


C = TypeVar("C")
S = TypeVar("S", bound=Settings)


class Cells(Protocol[C]):
    """Settings whose rows are each of a cell, all that fixes a row but its seed, and a seed."""

    def cells(self) -> Iterable[C]:
        """List the cells, in the order of the tables."""
        ...

    def seeds_of(self, cell: C) -> Sequence[int]:
        """List the seeds of a cell."""
        ...

    def config(self, cell: C) -> dict[str, Any]:
        """Return all that fixes the rows of a cell but the seed, as JSON can hold it."""
        ...


Found = dict[C, list[Row]]
"""The rows that there are of each cell, in the order of its seeds."""


def found(settings: Cells[C], results: Results) -> Found[C]:
    """Look up the rows of all cells.

    Raises:
        UsageError: the rows are damaged.
    """
    return results.look_up(
        (cell, settings.config(cell), settings.seeds_of(cell)) for cell in settings.cells()
    )


def one_row_each(
    settings: Cells[C],
    run: Callable[..., Measured],
    *,
    name: Callable[[C], str],
    size: Callable[[C], int] = lambda cell: 1,
    by_seed: bool = False,
) -> list[Unit]:
    """List a unit for each cell and seed, of one row each.

    Args:
        settings: which cells there are.
        run: `(cell, seed, folder, report) -> measured`.
        name: of a cell; the seed is added.
        size: how much work a row of a cell is.
        by_seed: list all cells of a seed together, so that a run that stops early leaves whole
            comparisons; else all seeds of a cell.
    """
    units = [
        Unit(
            name=f"{name(cell)}, seed {seed}",
            configs=(settings.config(cell),),
            seeds=(seed,),
            size=size(cell),
            run=functools.partial(run, cell, seed),
        )
        for cell in settings.cells()
        for seed in settings.seeds_of(cell)
    ]
    return sorted(units, key=lambda unit: unit.seeds) if by_seed else units


def reduced_too(preset: Preset) -> tuple[Preset, ...]:
    """List the presets to show: beside the paper's, which needs an accelerator, the reduced one."""
    return ("paper", "cpu") if preset == "paper" else (preset,)


def choose(presets: Mapping[str, S], words: Sequence[str], *, prog: str, description: str) -> S:
    """Read the words of a script, over the preset that they name.

    Args:
        presets: the settings of each preset; the first is taken where none is named.
        words: the words after the script.
        prog: the name of the script.
        description: the first lines of its help.

    Returns:
        The settings, checked.

    Raises:
        ValueError: the words make no sense or a setting is out of its range.
    """
    first = next(iter(presets))
    field = ("preset", Literal[tuple(presets)], first)
    named = dataclasses.make_dataclass("Named", [field])
    options = {"prog": prog, "description": description}
    # The words that are not --preset are left to the second reading.
    chosen, _ = parse(named, words, **options, return_unknown_args=True, add_help=False)
    default = presets[chosen.preset]
    settings: S = parse(type(default), words, **options, default=default)
    settings.check()
    return settings


def script(
    module: str, doc: str | None, presets: Mapping[str, S]
) -> tuple[str, functools.partial[int]]:
    """Make what `run.py` of an experiment ends with.

    Args:
        module: its `__name__`; the folder that it is in names the script and its rows.
        doc: its `__doc__`, whose first line heads the help.
        presets: the settings of each preset.

    Returns:
        The name, and `main` with the name, the presets and the description set.
    """
    description = (doc or "").partition("\n")[0].replace("`", "")
    name = module.split(".")[-2]
    return name, functools.partial(main, name, presets, description=description)


def main(
    script: str, presets: Mapping[str, S], args: Sequence[str] | None = None, *, description: str
) -> int:
    """Run a script: read the words, do the units that have no rows yet, append their rows.

    Args:
        script: its name, and that of its rows.
        presets: the settings of each preset.
        args: the words after the script; None takes those of the process.
        description: the first lines of the help.

    Returns:
        The exit code: 0; 2 where the input was at fault, after one line that says what to change;
        75 where its limit on seconds stopped it; 130 where it was stopped.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        settings = choose(presets, words, prog=script, description=description)
        units = settings.units()
    except (ValueError, TypeError) as error:
        return complain(script, str(error))
    try:
        results = Results(_writable("results", settings.results) / f"{script}.jsonl")
        work = _writable("work", settings.work / script)
        with slices.limited(settings.limit_seconds), alone(work, "work"):
            _do(script, settings, units, results, work)
    except (UsageError, DamagedFileError, OSError) as error:
        return complain(script, str(error))
    except slices.OutOfTimeError:
        print(f"{script}: {settings.limit_seconds:g} s are over; call the same command again")
        return UNFINISHED
    except KeyboardInterrupt:
        print(f"{script}: stopped; the same command continues", file=sys.stderr)
        return INTERRUPTED
    return 0


def _do(
    script: str, settings: Settings, units: Sequence[Unit], results: Results, work: Path
) -> None:
    """Do the units that lack a row."""
    made = stamp()
    done = results.read()
    missing = [{row_key(*case) for case in unit.cases} - done.keys() for unit in units]
    todo = [(unit, keys) for unit, keys in zip(units, missing, strict=True) if keys]
    asked, lacking = sum(len(u.cases) for u in units), sum(len(keys) for _, keys in todo)
    print(f"{script} --preset {settings.preset}: {asked - lacking} of {asked} rows are there")
    print(f"commit {made['commit']}, {made['hardware']}, {made['versions']}")
    began = time.monotonic()
    total = sum(unit.size for unit, _ in todo)
    with tqdm(total=total, disable=not settings.progress, unit_scale=True) as bar:
        for number, (unit, keys) in enumerate(todo):
            if number and slices.is_over():
                raise slices.OutOfTimeError
            bar.set_postfix_str(unit.name)
            folder = work / place_of([unit.configs, unit.seeds], made)
            seconds, metrics = unit.run(folder, bar.update)
            results.append(
                [
                    {
                        "script": script,
                        "preset": settings.preset,
                        "config": dict(config),
                        "seed": seed,
                        "commit": made["commit"],
                        "hardware": made["hardware"],
                        "versions": made["versions"],
                        "seconds": seconds / len(unit.cases),
                        "metrics": finite(measured),
                        "date": made["date"],
                    }
                    for (config, seed), measured in zip(unit.cases, metrics, strict=True)
                    if row_key(config, seed) in keys
                ]
            )
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{lacking} rows added to {results.path} in {time.monotonic() - began:.0f} s")


def place_of(work: Any, made: Mapping[str, Any]) -> str:
    """Name the folder of some work by what fixes it and by the commit and versions in `stamp`."""
    place = canonical([work, made["commit"], made["versions"]])
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def _writable(setting: str, folder: Path) -> Path:
    """Make a folder, and find out whether it takes files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"{setting}: cannot write {folder} ({error.strerror})") from error
    return folder
