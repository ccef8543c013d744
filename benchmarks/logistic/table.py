# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown."""

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.harness.standings import tables
from benchmarks.logistic import data
from benchmarks.logistic.run import PRESETS
from benchmarks.selection.table import designs_of

NOTE = """\
Mean over data sets or folds ± its standard error. The number in brackets says how many of the
{sets} data sets or {folds} folds have been run. The log loss is in nats, over {fresh:,} new rows of
a design or the rows of a fold. "truth" predicts by the true probabilities, so on average nothing is
below it. The second table has our log loss minus that of each other method, on the same data. If it
is negative, ours is ahead. The words in its last column mean the same as in the section before. All
methods fit and predict the same rows. Ridge, l1 and elastic net take the least log loss in 10-fold
cross-validation. abess fits its subset without a penalty. It pays for being sure and wrong, but at
most as for a probability of 1e-6. Seconds are processor seconds of fit and prediction, without
imports and compiling. Below them are those of a first call, if they were measured."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    settings = PRESETS[preset]
    table = tables(settings, results)
    tasks = table.there((*settings.designs, *settings.tasks))
    note = NOTE.format(sets=settings.data_sets, folds=data.FOLDS, fresh=data.FRESH)
    known = {name: data.DESIGNS[name] for name in tasks if name in data.DESIGNS}
    parts = [
        "## Two classes",
        f"`python -m benchmarks.logistic --preset {preset}`",
        note if tasks else markdown.NOT_RUN,
        designs_of(known, noise=False),
        table.means("Log loss", tasks, "log_loss", count=True),
        table.differences("Log loss, ours minus the other method's", tasks, "log_loss"),
        table.means("Area under the ROC curve", tasks, "auroc"),
        table.means("True finds", list(known), "true_finds", digits=1),
        table.means("False finds", list(known), "false_finds", digits=1),
        *table.costs(tasks),
    ]
    return markdown.join(parts)
