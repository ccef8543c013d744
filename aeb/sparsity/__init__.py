# SPDX-License-Identifier: Apache-2.0
"""Rules that set weights to exactly zero, one per file, with the signature of `magnitude`."""

from aeb.sparsity.fisher import fisher
from aeb.sparsity.inclusion import inclusion
from aeb.sparsity.learned import learned
from aeb.sparsity.magnitude import magnitude, prune
from aeb.sparsity.units import units

__all__ = ["fisher", "inclusion", "learned", "magnitude", "prune", "units"]
