# SPDX-License-Identifier: Apache-2.0
"""Priors, one in each file. A prior is pure maths of arrays and knows no sampler.

A prior of your own is an `aeb.types.Prior` of three functions. If it learns one number for each
leaf, as `gaussian.py` does, `leafwise.py` builds the three for you.
"""

from aeb.priors.gaussian import GaussianLatent, gaussian
from aeb.priors.spike_slab import SpikeSlabLatent, paper_spike_slab, spike_slab

__all__ = ["GaussianLatent", "SpikeSlabLatent", "gaussian", "paper_spike_slab", "spike_slab"]
