# SPDX-License-Identifier: Apache-2.0
"""What every benchmark shares: settings by preset, rows on disk, units of work that resume.

An experiment says what its settings are and which units of work they ask for; `main` does the rest.
`benchmarks/simulation` is one that is whole.

    runner      settings, presets, the loop over units, and what `table.py` and `figure.py` offer
    ranges      the range of a setting, in its type
    slices      checkpoints, a limit on seconds, `aeb.sample` and other loops in slices
    rows        rows on disk
    stamp       how a row was made
    markdown    tables of rows
    figures     the page that a figure is drawn on, and what several figures have on it

Where methods are set side by side, as in `benchmarks/selection`:

    comparison  settings, and a fit by each method
    cost        what a fit takes
    methods     what a linear regression returns, and the methods without settings
    standings   tables of a line per task and a column per method, and how ours compares
"""

from benchmarks.harness.ranges import check
from benchmarks.harness.rows import Results, Row, every_row, paired, row_key
from benchmarks.harness.runner import (
    Cells,
    Figure,
    Found,
    Measured,
    Preset,
    Section,
    Settings,
    Unit,
    found,
    main,
    one_row_each,
    place_of,
    reduced_too,
    script,
)
from benchmarks.harness.slices import Checkpoints, paced, run_in_slices, sample
from benchmarks.harness.stamp import stamp

__all__ = [
    "Cells",
    "Checkpoints",
    "Figure",
    "Found",
    "Measured",
    "Preset",
    "Results",
    "Row",
    "Section",
    "Settings",
    "Unit",
    "check",
    "every_row",
    "found",
    "main",
    "one_row_each",
    "paced",
    "paired",
    "place_of",
    "reduced_too",
    "row_key",
    "run_in_slices",
    "sample",
    "script",
    "stamp",
]
