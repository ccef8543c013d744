# SPDX-License-Identifier: Apache-2.0
"""Evaluate predictions and chains: scores, calibration, averages over draws, and mixing."""

from aeb.evaluation import diagnostics, mixing
from aeb.evaluation.export import to_arviz
from aeb.evaluation.predict import Prediction, predict

__all__ = ["Prediction", "diagnostics", "mixing", "predict", "to_arviz"]
