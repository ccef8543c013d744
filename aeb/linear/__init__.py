# SPDX-License-Identifier: Apache-2.0
"""Linear regression: the coefficients are integrated out and the model alone is sampled."""

from aeb.linear.regression import regression
from aeb.linear.result import Regression

__all__ = ["Regression", "regression"]
