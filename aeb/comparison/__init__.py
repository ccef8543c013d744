# SPDX-License-Identifier: Apache-2.0
"""Train a network, compress it in several ways, and compare. The command line runs this."""

from aeb.comparison.arms import ARMS, LABELS, Fit, Recipe
from aeb.comparison.run import Comparison, Plan, compare, make_plan, make_stages, run_plan, run_seed
from aeb.comparison.task import Metrics, Task, evaluate, hold_out, make_task, task_of

__all__ = [
    "ARMS",
    "LABELS",
    "Comparison",
    "Fit",
    "Metrics",
    "Plan",
    "Recipe",
    "Task",
    "compare",
    "evaluate",
    "hold_out",
    "make_plan",
    "make_stages",
    "make_task",
    "run_plan",
    "run_seed",
    "task_of",
]
