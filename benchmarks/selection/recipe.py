# SPDX-License-Identifier: Apache-2.0
"""What is compared, and on what."""

from typing import NamedTuple

__all__ = ["Cell"]


class Cell(NamedTuple):
    """A method on a design, or on real data."""

    method: str
    task: str  # a design, or real data
    repeats: int  # data sets of a design, folds of real data
