# SPDX-License-Identifier: Apache-2.0
"""The convergence script: its runs, rows, options and report.

Mutations that fail here, each tried: the first half of the steps averaged too, the readings of a
run that resumes lost, a row's key without a setting.
"""

import dataclasses
import json
import re

import numpy as np
from made_up import made_up_row

from benchmarks import harness
from benchmarks.convergence import run as convergence
from benchmarks.convergence.recipe import TwoMeans
from benchmarks.harness import rows as rows_module

SMALL = [
    *("--preset", "smoke", "--chains", "20", "--num-steps", "1200"),
    *("--exponents", "1", "--coefficients", "10", "--ladder", "0.02", "0.04"),
]


def test_an_interrupted_run_ends_in_the_same_rows(runs, dies):
    run = runs(convergence, *SMALL)
    assert run() == 0
    straight = run.rows()
    # The gain of the ladder is the one compared, so the run at 0.02 serves both.
    assert [row["config"]["step_size"] for row in straight] == [0.02, 0.04]
    for row in straight:
        assert min(row["metrics"]["rate"]["error"]) > 0
        assert row["metrics"]["rate"]["step"][-1] == 1200
        bias, se, exact = (
            np.array(row["metrics"]["weak"][name])
            for name in ("bias", "bias_se", "bias_by_quadrature")
        )
        assert np.all(se > 0)
        # The second half alone: the first, from 0 on, would show. Five errors, gain included.
        assert np.all(np.abs(bias - exact) < 5 * se + 0.02)
    run.file.unlink()
    saves = dies(lambda saves: saves[-1] == 1000)
    assert run("--checkpoint-every", "0") == 130
    dies.no_more()
    assert saves[-1] == 1000
    assert run("--checkpoint-every", "0") == 0
    assert run.rows() == straight


def test_every_setting_that_matters_is_in_the_key():
    settings = convergence.PRESETS["smoke"]
    cell = settings.rate_cells()[0]
    key = harness.row_key(settings.config(cell), 0)
    assert harness.row_key(json.loads(json.dumps(settings.config(cell))), 0) == key
    for change in ({"chains": 77}, {"num_steps": 777}, {"tail": 0.07}):
        other = dataclasses.replace(settings, **change)
        assert harness.row_key(other.config(cell), 0) != key
    for field in dataclasses.fields(TwoMeans):
        value = (7.0, 7.0) if field.name == "means" else 77
        problem = dataclasses.replace(settings.problem, **{field.name: value})
        other = dataclasses.replace(settings, problem=problem)
        assert harness.row_key(other.config(cell), 0) != key
    gain, step_size = cell
    for other_cell in (
        (gain, 0.5),
        *(
            (dataclasses.replace(gain, **{f.name: 0.9}), step_size)
            for f in dataclasses.fields(gain)
        ),
    ):
        assert harness.row_key(settings.config(other_cell), 0) != key


def test_presets_differ_in_size():
    smoke, cpu, paper = (convergence.PRESETS[name] for name in ("smoke", "cpu", "paper"))
    assert smoke.chains * smoke.num_steps < cpu.chains * cpu.num_steps
    assert cpu.chains * cpu.num_steps < paper.chains * paper.num_steps
    for settings in (smoke, cpu, paper):
        settings.check()
        assert {gain.exponent for gain, _ in settings.rate_cells()} == {0.6, 0.75, 1.0}
        # One run serves both theorems.
        assert len(settings.units()) == len(settings.ladder) + 3


def test_the_report_and_the_figures_show_rows_and_gaps(tmp_path, section_of):
    words = ["--results", str(tmp_path), "--figures", str(tmp_path / "figures")]
    section = section_of("Convergence", *words)
    assert section.count("not run") == 4 * 7 + 12 * 4
    assert "figures/" not in section
    assert not list(tmp_path.iterdir())

    settings = convergence.PRESETS["paper"]
    rows = []
    for gain, step_size in settings.weak_cells()[:2]:
        rate = {
            "step": [10, 100], "gain": [0.1, 0.01], "error": [0.2, 0.02], "error_se": [0.01, 0.001],
            "linear_theory": [0.2, 0.02], "slope_of_linear_theory": 1.011, "stability": 0.35,
            "slope": {"estimate": 1.0125, "low": 0.9876, "high": 1.0444}, "factor": 2.125,
            "largest_late_factor": 2.25, "factor_in_the_limit": None,
        }  # fmt: skip
        bias = np.full((2, 4), 0.1 * step_size)
        weak = {"bias": bias, "bias_se": bias / 10, "bias_by_quadrature": bias * 1.1}
        metrics = rows_module.finite({"rate": rate, "weak": weak})
        config = settings.config((gain, step_size))
        rows.append(made_up_row("convergence", "paper", config, 0, metrics))
    harness.Results(tmp_path / "convergence.jsonl").append(rows)
    # The ladder holds no run at the step size of the gains yet.
    section = section_of("Convergence", *words)
    assert section.count("not run") == 4 * 7 + 8 * 4
    assert "| signal | 0.08 | 8.00 ± 0.80 (8.80) |" in section
    assert re.search(r"\| null \| all \| 1.00 \[0.60, 1.40\] \(1.00\)", section)
    assert "largest distance from quadrature is 1.0 standard errors" in section
    assert [path.name for path in (tmp_path / "figures").iterdir()] == [
        "convergence_coefficients.png"
    ]
    rows[0]["config"] = settings.config(settings.rate_cells()[2])
    harness.Results(tmp_path / "convergence.jsonl").append(rows[:1])
    section = section_of("Convergence", *words)
    line = "| 1 | 10 | 3.50 | 1.012 [0.988, 1.044] | 1.011 | 2.125 | 2.250 | none | 7 |"
    assert line in section
    assert (tmp_path / "figures" / "convergence_latents.png").stat().st_size > 10_000
