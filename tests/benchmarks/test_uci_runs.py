# SPDX-License-Identifier: Apache-2.0
"""The UCI script: its runs, rows, options and report."""

import dataclasses
import json

import pytest
from made_up import made_up_row

from aeb.data import train_test_split
from benchmarks import harness
from benchmarks.uci import run as uci
from benchmarks.uci import splits
from benchmarks.uci import table as uci_table
from benchmarks.uci.arms import Numbers, numbers_of
from benchmarks.uci.recipe import ARMS, Poster, Recommended
from benchmarks.uci.splits import SEEDS

# ---- rows --------------------------------------------------------------------------------------


SMALL = [
    *("--preset", "smoke", "--sets", "yacht", "--arms", "sghmc", "a_sghmc_sa", "aeb"),
    *("--poster.batch-size", "10", "--poster.hidden", "4"),
]


def target_spread(seed):
    return train_test_split(splits.load("yacht"), seed=seed)[0].target.std()


def test_stopped_it_ends_in_the_same_rows(runs, small_sets, monkeypatch, dies):
    run = runs(uci, *SMALL)

    def alike(name, seed, share):
        """Of the shapes of the test splits, which saves a third of the compiling."""
        return train_test_split(splits.load(name), seed=seed)

    monkeypatch.setattr(splits, "hold_out", alike)
    assert run() == 0
    straight = run.rows()
    assert [(row["config"]["arm"], row["seed"]) for row in straight] == [
        ("sghmc", 5), ("sghmc", 55), ("a_sghmc_sa", 5), ("a_sghmc_sa", 55), ("aeb", 5), ("aeb", 55)
    ]  # fmt: skip
    assert all(row["metrics"]["rmse_average"] > 0 for row in straight)
    assert "sigma" not in straight[0]["metrics"]
    assert 0 <= straight[3]["metrics"]["share_out"] <= 1
    noise, sigma = (straight[4]["metrics"][name] for name in ("noise", "sigma"))
    assert noise == pytest.approx(sigma * target_spread(5) / 10, rel=0.2)
    run.file.unlink()
    # The same arm without the rows held out, then with them: stop in the second.
    dies(lambda saves: saves.count(3) == 2)
    assert run("--checkpoint-every", "0") == 130
    dies.no_more()
    assert any(path.name == "held_out" for path in run.work.rglob("*"))
    assert run("--checkpoint-every", "0") == 0
    assert run.rows() == straight


def test_every_setting_that_matters_is_in_the_key():
    settings = uci.PRESETS["smoke"]
    key = harness.row_key(settings.config(("yacht", "sghmc")), 5)
    assert harness.row_key(json.loads(json.dumps(settings.config(("yacht", "sghmc")))), 5) == key
    others = [dataclasses.replace(settings, seed=1).config(("yacht", "sghmc"))]
    others += [settings.config(("boston", "sghmc")), settings.config(("yacht", "a_sghmc"))]
    for field in dataclasses.fields(Poster):
        poster = dataclasses.replace(settings.poster, **{field.name: 77})
        others.append(dataclasses.replace(settings, poster=poster).config(("yacht", "sghmc")))
    others.append(settings.config(("yacht", "aeb")))
    for field in dataclasses.fields(Recommended):
        recommended = dataclasses.replace(settings.recommended, **{field.name: 77})
        others.append(
            dataclasses.replace(settings, recommended=recommended).config(("yacht", "aeb"))
        )
    assert len({harness.row_key(other, 5) for other in others} | {key}) == len(others) + 1


def test_presets_differ_in_size_alone():
    smoke, cpu, paper = (uci.PRESETS[name] for name in ("smoke", "cpu", "paper"))
    assert smoke.poster.epochs < cpu.poster.epochs < paper.poster.epochs == 201
    assert paper.sets == ("boston", "yacht", "energy", "wine", "concrete", "power")
    assert paper.splits == 20
    for settings in (smoke, cpu, paper):
        settings.check()
        assert dataclasses.replace(settings.poster, epochs=1) == Poster(epochs=1)
        size = {"chains": 1, "draws": 2}
        assert dataclasses.replace(settings.recommended, **size) == Recommended(**size)
        assert len(settings.units()) == len(settings.sets) * len(settings.arms)


def test_the_report_and_the_figure_show_rows_and_gaps(tmp_path, section_of):
    words = ["--results", str(tmp_path), "--figures", str(tmp_path / "figures")]
    section = section_of("UCI", *words)
    cells = len(uci.PRESETS["paper"].cells())
    assert section.count("not run") == 3 * cells + 6 * cells + 3 * 5
    assert "| A-SGHMC-SA | not run (2.692 ± 0.120) | not run (0.782 ± 0.052) |" in section
    assert not list(tmp_path.iterdir())

    settings = uci.PRESETS["paper"]
    rows = []
    for arm, last in (("sghmc", (2.0, 4.0)), ("a_sghmc_sa", (3.0, None)), ("aeb", (2.0, 2.0))):
        for seed, value in zip(SEEDS, last, strict=False):
            metrics = {
                "rmse_last": value, "rmse_average": 2.5, "log_likelihood": value and -value,
                "coverage": value and 0.875, "noise": 1.5,
            }  # fmt: skip
            if arm != "sghmc":
                delta = {"fc1/kernel": 0.25, "head/kernel": 0.75}
                metrics |= {"sigma": 0.5, "delta": delta, "share_out": 0.4}
                metrics["rmse_one_chain"] = 2.75
            rows.append(
                made_up_row("uci", "paper", settings.config(("boston", arm)), seed, metrics)
            )
    harness.Results(tmp_path / "uci.jsonl").append(rows)
    section = section_of("UCI", *words)
    for line in (
        "| SGHMC | 3.000 ± 1.000 (2.783 ± 0.109) | not run",
        "| A-SGHMC-SA | 3.000 (1 diverged) (2.692 ± 0.120) |",
        "| boston | 2.692 ± 0.120 | 2.500 ± 0.000 | 2.750 ± 0.000 | yes |",
        "| SGHMC | -3.000 ± 1.000 (88%) |",
        "| boston | A-SGHMC-SA | 2 of 20 | 1.500 ± 0.000 | 0.500 ± 0.000 | 0.25, 0.75 | 40% | 14 |",
    ):
        assert line in section
    assert (tmp_path / "figures" / "uci.png").stat().st_size > 10_000
    assert set(uci_table.POSTER) == set(ARMS) == set(settings.arms) - {"aeb"}


def test_an_arm_has_a_number_for_each_field():
    assert len(numbers_of("power", "sghmc_em", Poster())) == len(Numbers._fields)
