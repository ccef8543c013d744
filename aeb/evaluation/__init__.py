# SPDX-License-Identifier: Apache-2.0
"""How good predictions are, how sure they are, and how well chains have mixed."""

from aeb.evaluation import diagnostics, mixing
from aeb.evaluation.export import to_arviz
from aeb.evaluation.predict import Prediction, predict

__all__ = ["Prediction", "diagnostics", "mixing", "predict", "to_arviz"]
