# SPDX-License-Identifier: Apache-2.0
"""What a row reports of one data set: errors, the signals' posterior, discoveries, intervals."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.simulation.design import DataSet, Design, errors, interval_scores, population_mse
from benchmarks.simulation.recipe import Cell, Recipe
from benchmarks.simulation.sampler import LEAF, Carry

PICTURE_DRAWS = 400
"""Draws of a signal that the figure shows."""


def score(
    design: Design,
    recipe: Recipe,
    cells: Sequence[Cell],
    data: DataSet,
    carry: Carry,
    *,
    pictures: Sequence[bool],
) -> list[list[dict[str, Any]]]:
    """Score the chains of C cells on D data sets: metrics by cell and data set.

    What is read off rho is null for cells that learn none. `pictures` says of which data sets the
    rows also hold what the figure shows.
    """
    data, carry = jax.device_get((data, carry))
    sets = [DataSet(*(part[d] for part in data)) for d in range(len(data.y))]
    return [
        [
            _score_one(design, recipe, one, carry, (d, c), cell.arm != "sgld")
            | ({"picture": _picture(one, carry, (d, c))} if pictures[d] else {})
            for d, one in enumerate(sets)
        ]
        for c, cell in enumerate(cells)
    ]


def _score_one(
    design: Design,
    recipe: Recipe,
    data: DataSet,
    carry: Carry,
    place: tuple[int, int],
    selects: bool,
) -> dict[str, Any]:
    count = len(design.signals)
    beta, mean = (np.asarray(part, np.float64) for part in (data.beta, carry.mean[place]))
    tails = [(1 - recipe.level) / 2, 0.5, (1 + recipe.level) / 2]
    whole, signals = (np.asarray(x[:, *place], np.float64) for x in (carry.whole, carry.signals))
    low, median, high = np.quantile(whole, tails, axis=0)
    # The signals have all draws to read their intervals off.
    low[:count], median[:count], high[:count] = np.quantile(signals, tails, axis=0)
    sd = np.sqrt(np.asarray(carry.square[place], np.float64) / max(recipe.kept - 1, 1))
    rho = np.asarray(carry.rho[place], np.float64)
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
        "sigma_end": float(latent.sigma[place]),
        "sigma_mean": float(carry.sigma[place]),
        "delta_end": float(latent.delta[LEAF][place]),
    }


def _picture(data: DataSet, carry: Carry, place: tuple[int, int]) -> dict[str, list[Any]]:
    """Gather what the figure shows of one chain, to four digits."""
    signals = np.asarray(carry.signals[:, *place], np.float64)
    mean = np.asarray(carry.mean[place], np.float64)
    some = np.linspace(0, len(signals) - 1, min(PICTURE_DRAWS, len(signals))).round().astype(int)

    def rounded(x: Any) -> list[float]:
        return [float(f"{value:.4g}") for value in x]

    return {
        "draws": [rounded(draws) for draws in signals[some].T],
        "true": rounded(data.beta[: signals.shape[1]]),
        "mean": rounded(mean),
        "fresh_y": rounded(data.fresh_y),
        "fresh_prediction": rounded(np.asarray(data.fresh_x, np.float64) @ mean),
        "train_y": rounded(data.y),
        "train_prediction": rounded(np.asarray(data.x, np.float64) @ mean),
    }
