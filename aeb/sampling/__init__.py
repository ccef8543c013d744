# SPDX-License-Identifier: Apache-2.0
"""Run a kernel for many steps: `sample`, its compiled loop, its checkpoints."""

from aeb.sampling.divergence import DivergenceError, DivergenceWarning
from aeb.sampling.early_stop import EarlyStop
from aeb.sampling.runner import sample

__all__ = ["DivergenceError", "DivergenceWarning", "EarlyStop", "sample"]
