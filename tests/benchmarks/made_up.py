# SPDX-License-Identifier: Apache-2.0
"""Rows that no run has made, for tests of what is made of rows."""

from benchmarks.harness import rows as rows_module

SIMULATION = {
    "fresh": {"mae": 1.25, "mse": 2.5},
    "fresh_with_true_beta": {"mae": 1.0, "mse": 2.0},
    "population_mse": 3.5,
    "beta": [{"mean": 3.25, "inclusion": 0.75}] * 3,
    "true_discoveries": 2,
    "false_discoveries": None,
    "intervals": {name: {"coverage": 0.5, "width": 1.0} for name in ("signals", "nulls")},
    "sigma_end": 1.0,
    "delta_end": 0.5,
}
"""Metrics of one data set of the simulation."""


def made_up_row(script, preset, config, seed, metrics):
    """Put a row together that no run has made."""
    machine = {"cpu": "A", "cores": 1, "accelerator": None}
    values = (script, preset, config, seed, "c", machine, {"jax": "0"}, 7.0, metrics, "2026")
    return dict(zip(rows_module.FIELDS, values, strict=True))


def simulation_row(preset, config, seed, metrics):
    """Put a row of the simulation together."""
    return made_up_row("simulation", preset, config, seed, metrics)
