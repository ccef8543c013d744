# SPDX-License-Identifier: Apache-2.0
"""How the methods are set."""

import numpy as np

FOLDS = 10

STRENGTHS = np.geomspace(1e-4, 1e3, 29)
"""Inverse penalties C of the log likelihood summed over the rows, for standardised columns."""

SPARSE = STRENGTHS[8:]
"""Those of a penalty with a share of l1: below, no coefficient is left."""

RATIOS = (0.1, 0.5, 0.9)
"""Shares of the l1 penalty in the elastic net."""

TOLERANCE = 1e-3
"""Of scikit-learn's solver for l1, relative; ten times its default, which takes five times as long
for the same penalty."""
