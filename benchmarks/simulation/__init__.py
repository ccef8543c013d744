# SPDX-License-Identifier: Apache-2.0
"""Large p, small n: the paper's simulated regression, by SGLD-SA, SGLD-EM and SGLD."""
