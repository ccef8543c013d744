# SPDX-License-Identifier: Apache-2.0
"""What a row says of probabilities: log loss, AUROC, and finds where the signals are known."""

from typing import Any

import numpy as np

from benchmarks.logistic.data import Rows
from benchmarks.logistic.rivals import Fitted

__all__ = ["LEAST", "of_rows"]

LEAST = 1e-6
"""Probabilities are scored as at least this and at most 1 less it: one row that a method was sure
of and wrong about costs at most 13.8."""


def of_rows(rows: Rows, fitted: Fitted) -> dict[str, Any]:
    """Score the probabilities of the rows to predict.

    Args:
        rows: that they are of.
        fitted: what a method says of them.

    Returns:
        The mean log loss in nats, the area under the ROC curve, the share of rows whose probability
        was cut, and the counts of true and false finds, None where the signals are not known.

    Raises:
        ValueError: a probability is no number in [0, 1].
    """
    from sklearn.metrics import roc_auc_score

    stated = np.asarray(fitted.probability, np.float64)
    if not np.all((stated >= 0) & (stated <= 1)):
        raise ValueError("a method gave probabilities outside of [0, 1]")
    cut = np.clip(stated, LEAST, 1.0 - LEAST)
    loss = -np.mean(rows.test_y * np.log(cut) + (1.0 - rows.test_y) * np.log1p(-cut))
    return {
        "log_loss": float(loss),
        "auroc": float(roc_auc_score(rows.test_y, stated)),
        "cut": float(np.mean(cut != stated)),
        "finds": int(fitted.found.sum()),
        "true_finds": None if rows.signal is None else int(fitted.found[rows.signal].sum()),
        "false_finds": None if rows.signal is None else int(fitted.found[~rows.signal].sum()),
        "largest_r_hat": fitted.r_hat,
        "details": dict(fitted.details),
    }
