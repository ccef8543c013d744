# SPDX-License-Identifier: Apache-2.0
"""Sparse Bayesian deep learning: SG-MCMC under a spike-and-slab prior that learns itself.

See `empirical_bayes` for how an algorithm is put together, and `build_kernel`,
`as_gradient_transformation` and `as_sampling_algorithm` for its three faces.
"""

from typing import TYPE_CHECKING, Any

from aeb import data, linear, logs, types
from aeb.adapters import as_gradient_transformation, as_sampling_algorithm, bind_data
from aeb.compress import Compressed, compress
from aeb.dynamics import sghmc, sgld
from aeb.empirical_bayes import Algorithm, State, empirical_bayes
from aeb.evaluation import Prediction, diagnostics, mixing, predict, to_arviz
from aeb.export import export
from aeb.files import (
    Model,
    SparsityReport,
    checkpoint,
    inspect_sparse,
    load,
    load_sparse,
    save_sparse,
    sparsity_report,
)
from aeb.kernel import build_kernel
from aeb.linear import Regression, regression
from aeb.parallel import chains, data_parallel, sharded, state_sharding
from aeb.priors import GaussianLatent, SpikeSlabLatent, gaussian, paper_spike_slab, spike_slab
from aeb.references import citation
from aeb.sampling import DivergenceError, DivergenceWarning, EarlyStop, sample
from aeb.schedules import annealing, cyclical, exponential_ramp, robbins_monro, sparsity_ramp
from aeb.shrink import Shrunk, shrink
from aeb.sparsity import fisher, inclusion, learned, magnitude, prune, units
from aeb.tuning import tune
from aeb.types import Dynamics, Prior, Sparsifier
from aeb.version import __version__
from aeb.xla.compilation import compiler_options

if TYPE_CHECKING:
    from aeb.linear import SparseClassifier as SparseClassifier
    from aeb.linear import SparseRegressor as SparseRegressor

ESTIMATORS = ("SparseClassifier", "SparseRegressor")
"""Public too, but not in `__all__`: without scikit-learn `from aeb import *` would fail on them."""

__all__ = [
    "Algorithm",
    "Compressed",
    "DivergenceError",
    "DivergenceWarning",
    "Dynamics",
    "EarlyStop",
    "GaussianLatent",
    "Model",
    "Prediction",
    "Prior",
    "Regression",
    "Shrunk",
    "Sparsifier",
    "SparsityReport",
    "SpikeSlabLatent",
    "State",
    "__version__",
    "annealing",
    "as_gradient_transformation",
    "as_sampling_algorithm",
    "bind_data",
    "build_kernel",
    "chains",
    "checkpoint",
    "citation",
    "compiler_options",
    "compress",
    "cyclical",
    "data",
    "data_parallel",
    "diagnostics",
    "empirical_bayes",
    "exponential_ramp",
    "export",
    "fisher",
    "gaussian",
    "inclusion",
    "inspect_sparse",
    "learned",
    "load",
    "load_sparse",
    "logs",
    "magnitude",
    "mixing",
    "paper_spike_slab",
    "predict",
    "prune",
    "regression",
    "robbins_monro",
    "sample",
    "save_sparse",
    "sghmc",
    "sgld",
    "sharded",
    "shrink",
    "sparsity_ramp",
    "sparsity_report",
    "spike_slab",
    "state_sharding",
    "to_arviz",
    "tune",
    "types",
    "units",
]


def __getattr__(name: str) -> Any:
    """Import what needs scikit-learn when it is asked for."""
    if name in ESTIMATORS:
        return getattr(linear, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the names of the module, the estimators among them."""
    return sorted({*globals(), *ESTIMATORS})
