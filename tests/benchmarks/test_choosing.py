# SPDX-License-Identifier: Apache-2.0
"""The pictures of the guide on settings: all are drawn, and the page shows each."""

from pathlib import Path

from benchmarks import choosing

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_each_setting_has_its_picture(tmp_path):
    """Mutation: a setting left out of `PICTURES`."""
    assert choosing.main([str(tmp_path)]) == 0
    page = (DOCS / "guides" / "choosing.md").read_text()
    drawn = sorted(file.name for file in tmp_path.iterdir())
    assert drawn == sorted(file.name for file in (DOCS / "figures").glob("choosing_*.png"))
    for name in drawn:
        assert f"](../figures/{name})" in page
