# SPDX-License-Identifier: Apache-2.0
"""The preset of all the data and few epochs: its cells, the keys of its rows, its tables.

Mutations that fail here: `lengths` ignored; the epochs of a plan left out of a row's key; a new
setting put into the keys of older rows; the gain taken over a control of other epochs, or of a
frozen arm over the control whose weights may return; `regrow` not handed to the rule.
"""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from made_up import made_up_row

from benchmarks.compression import table
from benchmarks.compression.arms import make_stage, rewound_step_size
from benchmarks.compression.network import make_setup
from benchmarks.compression.recipe import Released, Rewound
from benchmarks.compression.run import PRESETS, Cell
from benchmarks.harness.rows import row_key

FULL = PRESETS["full"]


def test_each_length_is_a_row_of_its_own():
    cells = list(FULL.cells())
    keys = {row_key(FULL.config(cell), 0) for cell in cells}
    assert len(keys) == len(cells) == len(set(cells))
    five = FULL.config(Cell("aeb", 0.9, "authors", 5))
    fifteen = FULL.config(Cell("aeb", 0.9, "authors"))
    assert (five["size"].pop("epochs"), fifteen["size"].pop("epochs")) == (5, 15)
    assert five == fifteen


def test_a_part_can_be_chosen_by_its_length():
    some = dataclasses.replace(FULL, lengths=(5, 60))
    assert {cell.epochs for cell in some.cells()} == {5, 60}
    usual = dataclasses.replace(FULL, lengths=(15,))
    assert {cell.epochs for cell in usual.cells()} == {None}
    assert len(some.cells()) + len(usual.cells()) + 2 == len(FULL.cells())  # two of 30
    some.check()


@pytest.mark.parametrize("preset", ["cpu", "paper"])
def test_settings_that_came_later_are_in_no_older_key(preset):
    settings = PRESETS[preset]
    for cell in settings.cells():
        config = settings.config(cell)
        assert {"fall", "weight", "follow_ramp"}.isdisjoint(config.get("rewound", {}))
        assert list(config)[:3] == ["arm", "sparsity", "start"]
        assert "epochs" not in config


def test_only_our_arms_have_a_weight():
    assert FULL.config(Cell("aeb_learned", None, "authors"))["rewound"]["weight"] == 0.03
    assert FULL.config(Cell("aeb", 0.9, "authors"))["rewound"]["weight"] == 0.03
    assert "weight" not in FULL.config(Cell("control", 0.9, "authors"))["rewound"]


def test_the_scaled_arm_has_no_widths_in_its_key():
    """They are of each leaf; so the key would say what was not used."""
    scaled = FULL.config(Cell("aeb_scaled", 0.9, "authors", 5))["rewound"]
    given = FULL.config(Cell("aeb", 0.9, "authors", 5))["rewound"]
    assert set(given) - set(scaled) == {"v0", "v1", "weight"}
    assert scaled["follow_ramp"]


@pytest.mark.parametrize("arm", ["control", "control_frozen", "aeb_scaled", "aeb_frozen"])
def test_only_a_frozen_arm_remembers_what_is_pruned(arm):
    size = dataclasses.replace(PRESETS["smoke"].size, epochs=4)
    setup = make_setup(size)
    params = {"kernel": jnp.linspace(-1.0, 1.0, 100), "bias": jnp.zeros(1)}
    stage = make_stage(setup, size, Released(), Rewound(), arm, 0.8, params)
    mask = stage.algorithm.init(params).mask
    assert list(mask) == (["kernel"] if arm.endswith("frozen") else [])


def test_a_frozen_arm_is_compared_with_the_frozen_control():
    controls = {arm: table.control_of(arm) for arm in ("aeb", "aeb_scaled", "aeb_frozen")}
    assert controls == {"aeb": "control", "aeb_scaled": "control", "aeb_frozen": "control_frozen"}
    assert table.control_of("aeb_relative") == "control_relative"
    assert {table.control_of(arm) for arm in ("control_frozen", "aeb_cycles")} == {"control"}


def test_the_rate_falls_in_a_straight_line_where_it_is_told_to():
    step_size = rewound_step_size(Rewound(fall="linear", warmup=0.1), 2.0, 100, 0)
    rates = jax.vmap(step_size)(jnp.arange(100))
    assert float(rates[0]) == pytest.approx(2.0 * 0.1)
    falls = rates[10:-1] - rates[11:]
    assert float(falls.max() - falls.min()) < 1e-6
    assert float(rates[-1]) == pytest.approx(2.0 * 2 / 101, rel=1e-4)  # not yet 0


def made_up(seed, accuracy, **others):
    """A row that no run has made."""
    metrics = {"accuracy": accuracy, "nll": 0.5, "scaled_nll": 0.25, "sparsity": 0.9} | others
    return made_up_row("compression", "full", {}, seed, metrics)


def test_the_tables_set_each_cell_beside_its_control():
    rows = {cell: [] for cell in FULL.cells()}
    rows[Cell("control", 0.9, "authors")] = [made_up(seed, 0.5) for seed in (0, 1)]
    rows[Cell("aeb", 0.9, "authors")] = [made_up(0, 0.75), made_up(1, 0.625)]
    rows[Cell("control", 0.9, "authors", 5)] = [made_up(0, 0.25)]
    rows[Cell("aeb_learned", None, "authors")] = [made_up(0, 0.7, sparsity=0.83)]
    lines, _, targets, *_, made = table.short(FULL, rows)
    found = {line.split(" | ")[0]: line for line in lines.splitlines() if "(" in line}
    assert (
        "| 15 | 68.75 ± 8.84 (2) | 0.500 ± 0.000 (2) | 0.250 ± 0.000 (2) | 18.75 ± 6.25 (2) |"
        in (found["| aeb, from the authors' dense"])
    )
    assert "found by itself: 83.0 %" in found["| aeb, no target, from the authors' dense"]
    assert "| 90 % | 5 | 25.00 (1) |" in lines
    assert "| 90 %, 15 epochs | 90.8 | 50.00 ± 0.00 (2) | 68.75 ± 8.84 (2) |" in targets
    assert "| 90 %, 60 epochs | 91.7 | not run | not run |" in targets
    assert made == "Made on: A, 1 core, jax 0, commit c (2026)."
