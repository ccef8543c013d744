# SPDX-License-Identifier: Apache-2.0
"""The UCI sets, split and standardised; the splits of a set share their shapes and are stacked.

The 20 test splits are those of the authors: 90/10 by scikit-learn's `train_test_split`, whose
generator `aeb.data.train_test_split` follows, with the seeds 5, 55, 555, 5555, 6, ..., 9999. Their
own generator is legacy numpy, so the same rows are drawn here without scikit-learn.
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from aeb.data import DataError, Table, load_uci, train_test_split
from aeb.usage import UsageError

Set = Literal["boston", "yacht", "energy", "wine", "concrete", "power"]

SETS: tuple[Set, ...] = ("boston", "yacht", "energy", "wine", "concrete", "power")
"""The five sets of the authors, and one of ours."""

SEEDS = tuple(int(digit * times) for digit in "56789" for times in range(1, 5))
"""Seeds of the test splits."""


class Split(NamedTuple):
    """Rows to fit and rows to predict; stacked splits lead with S."""

    x: np.ndarray  # f32[N, d]: features, of mean 0 and variance 1 over these rows
    y: np.ndarray  # f32[N]: target, in the unit asked for
    x_new: np.ndarray  # f32[M, d]: features of the rows to predict, by the same means and scales
    y_new: np.ndarray  # f64[M]: their target, in its own unit
    centre: np.ndarray  # f64[]: what y = 0 stands for
    scale: np.ndarray  # f64[]: what y = 1 is more than that


@functools.lru_cache(maxsize=8)
def load(name: str) -> Table:
    """Read a set.

    Raises:
        UsageError: there is no file of it, or it is damaged.
    """
    try:
        return load_uci(name)
    except DataError as error:
        raise UsageError(str(error)) from error


def split(train: Table, new: Table, *, target_scale: float | None) -> Split:
    """Standardise by the rows to fit; a column that is constant among them becomes 0.

    The target is brought to mean 0 and this standard deviation; None leaves it as it is.
    """
    mean, spread = train.features.mean(axis=0), train.features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    centre, scale = np.zeros(()), np.ones(())
    if target_scale is not None:
        centre, scale = train.target.mean(), train.target.std() / target_scale
    return Split(
        x=((train.features - mean) / spread).astype(np.float32),
        y=((train.target - centre) / scale).astype(np.float32),
        x_new=((new.features - mean) / spread).astype(np.float32),
        y_new=new.target,
        centre=np.asarray(centre),
        scale=np.asarray(scale),
    )


def stack(splits: Sequence[Split]) -> Split:
    return Split(*(np.stack(parts) for parts in zip(*splits, strict=True)))


def hold_out(name: str, seed: int, share: float) -> tuple[Table, Table]:
    """Split the training rows of a test split once more; its test rows are not looked at.

    Returns the rows to fit, and that share of the training rows, held out.
    """
    train, _ = train_test_split(load(name), seed=seed)
    return train_test_split(train, seed=seed, test_fraction=share)
