# SPDX-License-Identifier: Apache-2.0
"""What a row reports of one data set: errors, the signals' posterior, discoveries, intervals."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from large_p.design import DataSet, Design, errors, interval_scores, population_mse
from large_p.recipe import Recipe
from large_p.sampler import LEAF, Carry

__all__ = ["score"]


def score(
    design: Design, recipe: Recipe, data: DataSet, carry: Carry, *, selects: bool
) -> list[dict[str, Any]]:
    """Score the chains of D data sets.

    Args:
        design: what the data were drawn from.
        recipe: how the sampler was set.
        data: leads with D.
        carry: at the end of the run.
        selects: whether rho is learned; if not, the row holds null for what is read off it.

    Returns:
        The metrics of each data set.
    """
    data, carry = jax.device_get((data, carry))
    return [
        _score_one(design, recipe, DataSet(*(part[d] for part in data)), carry, d, selects)
        for d in range(len(data.y))
    ]


def _score_one(
    design: Design, recipe: Recipe, data: DataSet, carry: Carry, d: int, selects: bool
) -> dict[str, Any]:
    count = len(design.signals)
    beta, mean = (np.asarray(part, np.float64) for part in (data.beta, carry.mean[d]))
    tails = [(1 - recipe.level) / 2, 0.5, (1 + recipe.level) / 2]
    low, median, high = np.quantile(np.asarray(carry.whole[:, d], np.float64), tails, axis=0)
    # The signals have all draws to read their intervals off.
    signals = np.quantile(np.asarray(carry.signals[:, d], np.float64), tails, axis=0)
    low[:count], median[:count], high[:count] = signals
    sd = np.sqrt(np.asarray(carry.square[d], np.float64) / max(recipe.kept - 1, 1))
    rho = np.asarray(carry.rho[d], np.float64)
    found = rho > 0.5
    latent = carry.chain.latent
    return {
        "population_mse": population_mse(design, beta, mean),
        "fresh": errors(data, mean),
        "fresh_with_true_beta": errors(data, beta),
        "beta": [
            {
                "true": float(beta[j]),
                "mean": float(mean[j]),
                "sd": float(sd[j]),
                "low": float(low[j]),
                "median": float(median[j]),
                "high": float(high[j]),
                "inclusion": float(rho[j]) if selects else None,
            }
            for j in range(count)
        ],
        "highest_null_inclusion": float(rho[count:].max()) if selects else None,
        "true_discoveries": int(found[:count].sum()) if selects else None,
        "false_discoveries": int(found[count:].sum()) if selects else None,
        "intervals": interval_scores(beta, low, high, count=count),
        "sigma_end": float(latent.sigma[d]),
        "sigma_mean": float(carry.sigma[d]),
        "delta_end": float(latent.delta[LEAF][d]),
    }
