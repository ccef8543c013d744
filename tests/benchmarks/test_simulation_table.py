# SPDX-License-Identifier: Apache-2.0
"""The report of the simulation, and what it says where there are no rows.

A mutation that fails here: a table that fills a gap.
"""

import re

from made_up import SIMULATION, simulation_row

from benchmarks import harness, report
from benchmarks.simulation import run as simulation


def test_the_report_shows_rows_and_gaps(tmp_path, capsys):
    assert report.main(["--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.count("not run") > 100
    # The poster's figures of the UCI sets have a ±; its own section is tested apart.
    assert re.search(r"\d±|± \d", text.partition("## UCI")[0]) is None
    # What their document printed stands there; what is only remembered of the paper does not.
    for figure in ("1.71", "4.08", "2.20", "7.21", "12.14", "219.15", "2.8, 2.25, 1.2"):
        assert figure in text
    for figure in ("5.64", "15.85", "416.39", "4.42", "88.90"):
        assert figure not in text
    assert not list(tmp_path.iterdir())


def test_the_report_averages_over_data_sets(tmp_path, capsys):
    settings = simulation.PRESETS["smoke"]
    cell = settings.cells()[0]
    rows = [
        simulation_row("smoke", settings.config(cell), seed, SIMULATION | {"population_mse": mse})
        for seed, mse in ((0, 3.0), (1, 5.0))
    ]
    harness.Results(tmp_path / "simulation.jsonl").append(rows)
    out = tmp_path / "results.md"
    assert report.main(["--preset", "smoke", "--results", str(tmp_path), "--out", str(out)]) == 0
    first, second = (line for line in out.read_text().splitlines() if "2 of 2" in line)
    assert "| 4.00 ± 1.00 |" in first
    assert first.endswith("| 7.0 |")
    assert "| 3.25, 3.25, 3.25 |" in second
    assert "| 2.00 ± 0.00 | - |" in second
    assert capsys.readouterr().out == ""
