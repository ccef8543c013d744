# SPDX-License-Identifier: Apache-2.0
"""What a step costs: a module a section, each with its settings, its rows and its contenders."""

from cost.blackjax_peer import BlackJax
from cost.chains import Chains
from cost.clock import Case, Clock, Spread, ratio, spread
from cost.compiling import Compiling
from cost.data import Data
from cost.epoch import Epoch
from cost.loop import Loop
from cost.nuts import Nuts
from cost.regressions import Regressions
from cost.sampler import Sampler
from cost.step import Step
from cost.threshold import Threshold
from cost.torch_peer import Torch
from large_p import Design

__all__ = [
    "BlackJax",
    "Case",
    "Chains",
    "Clock",
    "Compiling",
    "Data",
    "Design",
    "Epoch",
    "Loop",
    "Nuts",
    "Regressions",
    "Sampler",
    "Spread",
    "Step",
    "Threshold",
    "Torch",
    "ratio",
    "spread",
]
