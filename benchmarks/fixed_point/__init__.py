# SPDX-License-Identifier: Apache-2.0
"""A spike-and-slab problem whose fixed point is known by quadrature, and chains that look for it.

`problem` says what is fitted, `law` gives the stationary law of a coefficient, `mean_field` the
fixed point and the error to expect about it, `sampler` runs the chains, `slopes` and `scores` read
them.
"""

from fixed_point.law import Law, functions, mean_of_functions, stationary_law
from fixed_point.mean_field import MeanField, Prediction, limit_factor, predict
from fixed_point.problem import FUNCTIONS, Gain, Problem, Theta, from_vector, to_vector
from fixed_point.sampler import Programs, build, theta_of
from fixed_point.scores import score_coefficients, score_latents
from fixed_point.slopes import Slope, bias_slope, error_slope

__all__ = [
    "FUNCTIONS",
    "Gain",
    "Law",
    "MeanField",
    "Prediction",
    "Problem",
    "Programs",
    "Slope",
    "Theta",
    "bias_slope",
    "build",
    "error_slope",
    "from_vector",
    "functions",
    "limit_factor",
    "mean_of_functions",
    "predict",
    "score_coefficients",
    "score_latents",
    "stationary_law",
    "theta_of",
    "to_vector",
]
