# SPDX-License-Identifier: Apache-2.0
"""Priors, one a file: pure maths of arrays that knows no sampler.

A prior of your own is an `aeb.types.Prior` of three functions. `leafwise.py` makes those of a prior
that learns a number for each leaf, such as `gaussian.py`.
"""

from aeb.priors.gaussian import GaussianLatent, gaussian
from aeb.priors.spike_slab import SpikeSlabLatent, paper_spike_slab, spike_slab

__all__ = ["GaussianLatent", "SpikeSlabLatent", "gaussian", "paper_spike_slab", "spike_slab"]
