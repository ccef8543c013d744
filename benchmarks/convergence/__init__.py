# SPDX-License-Identifier: Apache-2.0
"""The two theorems of Deng et al. (NeurIPS 2019), measured where the truth is known by quadrature.

`recipe` says what is fitted, `law` gives the stationary law of a coefficient, `mean_field` the
fixed point and the error to expect about it, `sampler` runs the chains, `scores` reads them.
"""
