# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown."""

import functools

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.logistic import data
from benchmarks.logistic.run import PRESETS
from benchmarks.regression.table import first_call
from benchmarks.selection.compare import Rows, by_method, differences, made
from benchmarks.selection.table import designs_of, over

__all__ = ["report"]

NOTE = """\
Mean over data sets or folds ± its standard error, in brackets how many of the {sets} data sets or
{folds} folds have been run. The log loss is in nats, over {fresh:,} new rows of a design or the
rows of a fold; "truth" are the true probabilities, so the floor. Below it, the log loss of ours
less that of each other method, paired: a negative number is a lead, and the words of the last
column mean what they do in the section before. All methods fit and predict the same rows. Ridge,
l1 and elastic net: least log loss in 10-fold cross-validation. abess fits its subset without a
penalty and is charged for being sure and wrong, but no more than for a probability of 1e-6.
Seconds are processor seconds of fit and prediction, with nothing left to import or to compile;
below them those of a first call, where they were taken."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    settings = PRESETS[preset]
    table = harness.found(settings, results)
    rows: Rows = {(cell.task, cell.method): of_cell for cell, of_cell in table.items()}
    tasks = [
        name
        for name in (*settings.designs, *settings.tasks)
        if any(rows.get((name, method)) for method in settings.methods)
    ]
    note = NOTE.format(sets=settings.data_sets, folds=data.FOLDS, fresh=data.FRESH)
    known = {name: data.DESIGNS[name] for name in tasks if name in data.DESIGNS}
    rivals = [method for method in settings.methods if method != "truth"]
    several = functools.partial(by_method, rows=rows, methods=settings.methods)
    parts = [
        "## Two classes",
        f"`python -m benchmarks.logistic --preset {preset}`",
        note if tasks else markdown.NOT_RUN,
        designs_of(known, noise=False),
        several("log loss", tasks=tasks, write=over("log_loss", count=True)),
        differences("log loss", rows, tasks, rivals, markdown.metric("log_loss")),
        several("area under the ROC curve", tasks=tasks, write=over("auroc")),
        several("true finds", tasks=list(known), write=over("true_finds", digits=1)),
        several("false finds", tasks=list(known), write=over("false_finds", digits=1)),
        several("seconds", tasks=tasks, write=over("cpu_seconds", digits=2)),
        several("first call", tasks=tasks, write=first_call),
        made(harness.every_row(table)),
    ]
    return markdown.join(parts)
