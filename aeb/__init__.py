# SPDX-License-Identifier: Apache-2.0
"""Sparse Bayesian deep learning: SG-MCMC under a spike-and-slab prior that learns itself.

See `empirical_bayes` for how an algorithm is put together, and `build_kernel`,
`as_gradient_transformation` and `as_sampling_algorithm` for its three faces.
"""

from aeb import types
from aeb.adapters import as_gradient_transformation, as_sampling_algorithm, bind_data
from aeb.dynamics import sghmc, sgld
from aeb.empirical_bayes import Algorithm, State, empirical_bayes
from aeb.kernel import build_kernel
from aeb.parallel import chains, data_parallel
from aeb.predict import Prediction, predict
from aeb.priors import GaussianLatent, SpikeSlabLatent, gaussian, spike_slab
from aeb.sampling import sample
from aeb.schedules import annealing, cyclical, robbins_monro, sparsity_ramp
from aeb.sparsity import inclusion, learned, magnitude, prune, units
from aeb.types import Dynamics, Prior, Sparsifier
from aeb.version import __version__

__all__ = [
    "Algorithm",
    "Dynamics",
    "GaussianLatent",
    "Prediction",
    "Prior",
    "Sparsifier",
    "SpikeSlabLatent",
    "State",
    "__version__",
    "annealing",
    "as_gradient_transformation",
    "as_sampling_algorithm",
    "bind_data",
    "build_kernel",
    "chains",
    "cyclical",
    "data_parallel",
    "empirical_bayes",
    "gaussian",
    "inclusion",
    "learned",
    "magnitude",
    "predict",
    "prune",
    "robbins_monro",
    "sample",
    "sghmc",
    "sgld",
    "sparsity_ramp",
    "spike_slab",
    "types",
    "units",
]
