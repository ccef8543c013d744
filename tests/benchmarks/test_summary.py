# SPDX-License-Identifier: Apache-2.0
"""The docs say what the committed rows say; a row changed by hand, or a table left as it was
when rows were added, fails here."""

import shutil
from pathlib import Path

import pytest

from benchmarks import overview, report, summary
from benchmarks.compression import run as compress
from benchmarks.compression import table as compression_table
from benchmarks.harness import markdown

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_the_docs_are_made_of_the_rows(tmp_path):
    made = {"--findings": "findings.md", "--page": "what-it-does.md", "--out": "results.md"}
    made |= {"--speed": "speed.md"}
    words = []
    for option, page in made.items():
        shutil.copy(ROOT / "docs" / page, tmp_path)
        words += [option, str(tmp_path / page)]
    assert report.main(words) == 0
    for page in made.values():
        assert (tmp_path / page).read_text() == (ROOT / "docs" / page).read_text()
    assert summary.summary(RESULTS).count(markdown.NOT_RUN) == 0


def test_without_rows_it_says_not_run(tmp_path):
    block = summary.summary(tmp_path)
    assert block.count("not run") == (2 + 5) * 5 + 1 + 5 * 6 + 2 * 6 + 8 * 4 + 1 + 1 + 8 + 7
    assert "poster" in block


def test_the_picture_is_drawn_with_rows_and_without(tmp_path):
    """Mutation: a panel that takes the mean of no rows."""
    for results in (RESULTS, tmp_path):
        files = overview.draw(results, tmp_path / results.name)
        assert [file.name for file in files] == list(overview.FILES)
        assert all(file.read_bytes()[1:4] == b"PNG" for file in files)


def test_a_block_goes_between_its_marks():
    text = f"above\n{summary.BEGIN}old\n{summary.END}below\n"
    put = summary.put_into(text, "new")
    assert put == f"above\n{summary.BEGIN}\nnew\n{summary.END}below\n"
    assert summary.put_into(put, "new") == put
    named = "<!-- x -->\nold\n<!-- /x -->\n"
    assert summary.put_into(named + text, "new", "x") == "<!-- x -->\n\nnew\n<!-- /x -->\n" + text
    for bad in ("above\n", text + text, f"{summary.END}{summary.BEGIN}"):
        with pytest.raises(ValueError, match="marks: the text needs the lines"):
            summary.put_into(bad, "new")


def test_a_page_without_marks_is_told(tmp_path, capsys):
    page = tmp_path / "findings.md"
    page.write_text("# no marks\n")
    assert report.main(["--findings", str(page), "--out", str(tmp_path / "r.md")]) == 2
    assert "marks: the text needs the lines" in capsys.readouterr().err
    assert page.read_text() == "# no marks\n"


def test_means_and_how_rows_were_made():
    assert markdown.mean([1.0, 3.0]) == "2.00 ± 1.00"
    assert markdown.mean([1.0, None], 1, lost="diverged") == "1.0 (1 diverged)"
    assert markdown.mean([None]) == "-"
    assert markdown.table(["a ", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    row = {
        "hardware": {"cpu": "c", "cores": 2, "accelerator": None},
        "versions": {"jax": "1"},
        "metrics": {"packages": {"peer": "3"}},
        "commit": "abc",
        "date": "today",
    }
    other = row | {"commit": "abd"}
    want = "Made on: c, 2 cores, jax 1, peer 3, commit abc (today), abd (today)."
    assert markdown.made([row, other, row]) == want
    assert markdown.made([]) == ""


def test_a_gain_over_the_control_is_taken_seed_by_seed():
    """Taken in the order of the rows instead, the seed that the control lacks would shift them."""

    def rows(accuracies):
        return [{"seed": s, "metrics": {"accuracy": a}} for s, a in accuracies.items()]

    aeb, control = (compress.Cell(arm, 0.9, "own") for arm in ("aeb", "control"))
    found = {aeb: rows({0: 0.6, 1: 0.1, 2: 0.9}), control: rows({0: 0.5, 2: 0.7})}
    assert compression_table.gains(found, aeb) == "15.00 ± 5.00 (2)"
