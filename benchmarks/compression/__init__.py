# SPDX-License-Identifier: Apache-2.0
"""Compression of a ResNet: its size, recipes and arms, a run of one, what is measured."""

from benchmarks.compression.arms import ARMS, Arm, ArmName, Stage, make_stage
from benchmarks.compression.problem import Problem, authors_network, make_problem
from benchmarks.compression.recipe import Released, Rewound, Size
from benchmarks.compression.released import DEPARTURES, SPARSE
from benchmarks.compression.runs import START, Carry, Start, metrics_of, train

__all__ = [
    "ARMS",
    "DEPARTURES",
    "SPARSE",
    "START",
    "Arm",
    "ArmName",
    "Carry",
    "Problem",
    "Released",
    "Rewound",
    "Size",
    "Stage",
    "Start",
    "authors_network",
    "make_problem",
    "make_stage",
    "metrics_of",
    "train",
]
