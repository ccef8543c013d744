# SPDX-License-Identifier: Apache-2.0
"""What is compared, on what, and what each method needs."""

from typing import Literal, NamedTuple

__all__ = ["LIMITS", "PACKAGES", "Cell", "Method"]

# fmt: off
Method = Literal[
    "lasso", "ridge", "elastic net", "mcp", "ard", "abess", "abess, folds", "susie", "millipede",
    "horseshoe", "aeb", "aeb, v0 = 0",
]
# fmt: on

PACKAGES: dict[Method, tuple[str, ...]] = {
    "lasso": ("scikit-learn",),
    "ridge": ("scikit-learn",),
    "elastic net": ("scikit-learn",),
    "mcp": ("scikit-learn", "skglm"),
    "ard": ("scikit-learn",),
    "abess": ("abess",),
    "abess, folds": ("abess",),
    "susie": ("pysusie",),
    "millipede": ("millipede-regression", "torch"),
    "horseshoe": ("numpyro",),
    "aeb": (),
    "aeb, v0 = 0": (),
}
"""What a method needs beside `aeb`, by its name on the package index."""

LIMITS: dict[Method, int] = {"ard": 500, "horseshoe": 300}
"""Most columns that a method is given: beyond, one fit takes many minutes."""


class Cell(NamedTuple):
    """A method on a design, or on real data."""

    method: Method
    task: str  # of `designs.DESIGNS` or `real.TASKS`
    repeats: int  # data sets of a design, folds of real data
