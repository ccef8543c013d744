# SPDX-License-Identifier: Apache-2.0
"""The compression script: its runs, rows, options, tables and page."""

import dataclasses
import json

import pytest
from made_up import made_up_row

from benchmarks import harness, report
from benchmarks.compression import run as compress
from benchmarks.compression import table as compression_table
from benchmarks.compression.arms import ARMS
from benchmarks.compression.recipe import FULL_STEPS, Released, Size
from benchmarks.compression.run import PRESETS, Cell

pytestmark = pytest.mark.quickly_compiled

# ---- runs and rows -----------------------------------------------------------------------------


@pytest.fixture
def run(runs):
    return runs(compress, "--preset", "smoke")


def rows_of(file):
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "date")} for row in rows]


def test_slices_end_in_the_rows_of_a_straight_run(run, capsys):
    """Bytes, crops and erasing on the device, bf16, a teacher, cycles: the paper's code path."""
    words = ("--arms", "dense", "aeb_taught")
    assert run(*words) == 0
    straight = rows_of(run.file)
    run.file.unlink()
    codes = []
    while not codes or codes[-1] == 75:
        assert len(codes) < 20
        codes.append(run(*words, "--limit-seconds", "1e-9"))
    assert codes[-1] == 0
    # Two dense epochs in two slices; then four, each a slice.
    assert len(codes) >= 5
    assert "call the same command again" in capsys.readouterr().out
    assert rows_of(run.file) == straight
    dense, taught = straight
    assert taught["metrics"]["size"] == sum(taught["metrics"]["kept"].values()) + round(
        0.7 * taught["metrics"]["size"]
    )
    assert taught["metrics"]["average"]["samples"] == 2
    assert taught["metrics"]["average"]["accuracy"] > 0
    assert [look["epoch"] for look in taught["metrics"]["history"]] == [3, 4]
    assert taught["metrics"]["latent"]["sigma"] == 1.0
    assert taught["metrics"]["history"][0]["noise"] > 0
    assert dense["metrics"]["zeros"] == 0
    assert dense["metrics"]["latent"] is None


def test_every_setting_that_matters_is_in_the_key():
    settings = PRESETS["cpu"]
    ours, theirs = Cell("aeb_taught", 0.9, "own"), Cell("a_sghmc_sa", 0.9, "own")
    key = harness.row_key(settings.config(ours), 5)
    assert harness.row_key(json.loads(json.dumps(settings.config(ours))), 5) == key
    keys = [key, harness.row_key(settings.config(theirs), 5)]
    keys += [harness.row_key(settings.config(ours._replace(sparsity=0.8)), 5)]
    keys += [harness.row_key(settings.config(ours._replace(start="authors")), 5)]
    for part, cell in (("size", ours), ("rewound", ours), ("released", theirs)):
        old = getattr(settings, part)
        for field in dataclasses.fields(old):
            value = (7, 7) if field.name == "falls" else 77
            value = (7, 7, 7) if field.name == "widths" else value
            changed = dataclasses.replace(old, **{field.name: value})
            other = dataclasses.replace(settings, **{part: changed})
            keys.append(harness.row_key(other.config(cell), 5))
    assert len(set(keys)) == len(keys)
    # The dense network that an arm starts from is the same whatever the arm's own settings are.
    dense = settings.config(Cell("dense", None, "own"))
    other = dataclasses.replace(
        settings,
        rewound=dataclasses.replace(settings.rewound, v0=0.5),
        size=dataclasses.replace(settings.size, epochs=77),
    )
    assert other.config(Cell("dense", None, "own")) == dense


def test_the_paper_preset_is_the_full_size_and_asks_for_all_that_is_compared():
    paper = PRESETS["paper"]
    assert (paper.size, paper.released) == (Size(), Released())
    assert paper.size.steps * paper.size.epochs == FULL_STEPS
    cells = dict(paper.planned())
    sparsities = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    for arm in ("a_sghmc", "a_sghmc_em", "sghmc_sa", "a_sghmc_sa"):
        assert all(Cell(arm, sparsity, "authors") in cells for sparsity in sparsities)
        assert Cell(arm, 0.9, "own") in cells
    for arm in ("control", "aeb"):
        assert all(Cell(arm, sparsity, "own") in cells for sparsity in sparsities)
        assert all(cells[Cell(arm, sparsity, "own")] == 5 for sparsity in (0.9, 0.95, 0.98))
    assert set(ARMS) == {cell.arm for cell in cells}
    for preset in PRESETS.values():
        preset.check()
        # Each cell once: a plan that names it twice would count its row twice.
        assert len(set(preset.cells())) == len(preset.cells())
    assert {arm for arm, _ in compression_table.POSTER.items()} == set(compression_table.LOGS)


# ---- tables and figure -------------------------------------------------------------------------


def made_row(settings, cell, seed, accuracy, **more):
    look = {"epoch": 4.0, "noise": 0.5, "step": 1.0, "weight": 2.0, "accuracy": accuracy}
    metrics = {
        "accuracy": accuracy, "nll": 0.5, "scaled_nll": 0.4, "ece": 0.01,
        "sparsity": 0.9, "zeros": 900,
        "best_test_epoch": {"epoch": 4, "accuracy": accuracy + 0.01},
        "average": None, "latent": None, "cut": None, "history": [look],
    } | more  # fmt: skip
    return made_up_row("compression", "paper", settings.config(cell), seed, metrics)


def test_the_report_and_the_figure_show_rows_and_gaps(tmp_path, section_of):
    words = ["--results", str(tmp_path), "--figures", str(tmp_path / "figures")]
    section = section_of("Compression", *words)
    assert section.count("| 90.59 (89.10, 88.84) |") == 1
    assert "| 90 %, one network | 92.0 | not run | not run | not run |" in section
    settings = PRESETS["paper"]
    cells = settings.planned()
    at_length, shortly = section.split("### All of the data, few epochs")
    assert at_length.count("not run") == len(cells) + 3 * 5
    # Of each cell three scores, and what the arms with a control have more; two for each target.
    few = list(PRESETS["full"].cells())
    beside = [cell for cell in few if cell.sparsity and ARMS[cell.arm].kind != "control"]
    targets = compression_table.SHORT_TARGETS
    assert shortly.count("not run") == 3 * len(few) + len(beside) + 2 * len(targets)
    assert not (tmp_path / "figures" / "compression.png").exists()

    average = {"samples": 4, "sparsity": 0.9, "accuracy": 0.925, "nll": 0.25, "ece": 0.02}
    latent = {"delta": {"a": 0.1, "b": 0.4}, "rho_share": 0.25, "rho_undecided": 0.125}
    cut = {"sparsity": 0.5, "before": 0.75, "by_rho": 0.625, "by_magnitude": 0.5}
    rows = [
        made_row(settings, Cell("dense", None, "own"), 0, 0.945, sparsity=0.0),
        made_row(settings, Cell("aeb_cycles", 0.9, "own"), 0, 0.91, average=average, latent=latent),
        made_row(settings, Cell("aeb_cycles", 0.9, "own"), 1, 0.93, average=average, latent=latent),
        made_row(settings, Cell("aeb_learned", None, "own"), 0, 0.9, latent=latent, cut=cut),
        made_row(settings, Cell("control", 0.9, "own"), 0, 0.9),
        made_row(settings, Cell("control", 0.9, "own"), 1, 0.88),
        made_row(settings, Cell("control", 0.9, "own"), 2, 0.1),
    ]
    harness.Results(tmp_path / "compression.jsonl").append(rows)
    section = section_of("Compression", *words)
    assert "| dense | 94.50 (1) |" in section
    assert "92.00 ± 1.41 (2)" in section
    assert "| dense | 94.0 | dense | 94.50 (1) | yes |" in section
    assert "| 90 %, averaged | 92.4 | aeb, noise, cycles | 92.50 ± 0.00 (2) | yes |" in section
    assert "| aeb, noise, cycles | 90 % | 92.00 ± 1.41 | 92.50 ± 0.00 | 0.500" in section
    line = "| aeb, no target | - | 25.0% | 12.5% | 0.10 to 0.40 | 0.5 | 0.25 | 91.00 | 900 |"
    assert line in section
    line = "| aeb, no target | 50.00 | 75.00 | 62.50 | 50.00 | 90.00 (1) | 90.00 (1) |"
    assert line in section
    assert "| aeb, noise, cycles | 90 % | 3.00 ± 2.00 (2) |" in section
    assert (tmp_path / "figures" / "compression.png").stat().st_size > 10_000
    assert not (tmp_path / "figures" / "compression_reduced.png").exists()


def test_the_page_shows_the_rows_of_the_reduced_size(tmp_path):
    """Between its marks, and with the full preset's report too."""
    settings, results = PRESETS["cpu"], harness.Results(tmp_path / "compression.jsonl")
    names = list(compression_table.blocks(results))
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\n" for name in names))
    rows = [
        made_row(settings, Cell("control", 0.9, "own"), 0, 0.5),
        made_row(settings, Cell("aeb_rho", 0.9, "own"), 0, 0.625),
    ]
    results.append(rows)
    out = tmp_path / "out.md"
    words = ["--results", str(tmp_path), "--page", str(page), "--out", str(out)]
    assert report.main([*words, "--figures", str(tmp_path / "figures")]) == 0
    line = "| aeb, by rho | 90 % | 12.50 (1) |"
    assert line in page.read_text()
    assert line in out.read_text().split("### At a reduced size")[1]
    assert "old" not in page.read_text()
    assert (tmp_path / "figures" / "compression_reduced.png").stat().st_size > 10_000


def test_the_full_size_has_a_figure_of_the_accuracy_along_its_runs(tmp_path):
    """Mutation: the figure shown where no run of a target has a row."""
    settings, results = PRESETS["full"], harness.Results(tmp_path / "compression.jsonl")
    words = ["--results", str(tmp_path), "--figures", str(tmp_path), "--out", str(tmp_path / "a")]
    drawn = tmp_path / compression_table.EPOCHS
    results.append([made_row(settings, Cell("aeb_learned", None, "authors"), 0, 0.8)])
    assert report.main(words) == 0
    assert not drawn.exists()
    assert drawn.name not in (tmp_path / "a").read_text()
    rows = [
        made_row(settings, Cell("control", 0.9, "authors"), 0, 0.9),
        made_row(settings, Cell("aeb", 0.95, "authors", epochs=None), 0, 0.85),
    ]
    results.append(rows)
    assert report.main(words) == 0
    assert drawn.stat().st_size > 10_000
    assert (tmp_path / "a").read_text().count(f"figures/{drawn.name}") == 1
