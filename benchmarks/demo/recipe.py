# SPDX-License-Identifier: Apache-2.0
"""The settings of the published demo, spelled out: they stay when those of the command change."""

from aeb.comparison import Recipe

__all__ = ["ARMS", "RECIPE"]

ARMS = ("magnitude", "em", "sa", "learned")

RECIPE = Recipe(
    sparsity=0.9,
    dense_epochs=30,
    epochs=30,
    batch_size=64,
    learning_rate=0.05,
    weight_decay=5e-4,
    temperature=1e-2,
    v0=0.01,
    v1=1.0,
)
