# SPDX-License-Identifier: Apache-2.0
"""Samplers, one in each file. Each takes the gradient of a log posterior and knows no prior."""

from aeb.dynamics.sghmc import sghmc
from aeb.dynamics.sgld import sgld

__all__ = ["sghmc", "sgld"]
