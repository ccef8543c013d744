# SPDX-License-Identifier: Apache-2.0
"""The code on the pages of the site runs as it stands. Mutation: any renamed argument or name."""

import re
from pathlib import Path

import jax
import pytest

import aeb

DOCS = Path(__file__).parent.parent / "docs"
FRAGMENTS = {DOCS / "scaling.md"}
"""Its code needs a kernel of the reader's, or several hosts; `tests/test_parallel.py` has it."""
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if "```python" in page.read_text() and page not in FRAGMENTS
]

pytestmark = [pytest.mark.slow, pytest.mark.quickly_compiled]


def relative(page):
    return str(page.relative_to(DOCS))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    # As a user runs it: without the strictness that the other tests ask for.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            exec(compile(block, relative(page), "exec"), names)
    shown = capsys.readouterr().out
    if relative(page) == "getting-started.md":
        assert names["accuracy"] > 0.88
        assert abs(names["sparse"].report.sparsity - 0.9) < 0.001
    if relative(page) == "guides/compress.md":
        assert names["sparse"].after.accuracy > 0.9
    if relative(page) == "guides/uncertainty.md":
        near, far = (float(line.rsplit(" ", 1)[1]) for line in shown.splitlines()[:2])
        assert near > 0.95
        assert far < 0.9
    if relative(page) == "guides/regression.md":
        assert "x7 " in shown
        assert "x42 " in shown


def test_the_reference_has_every_public_name():
    """Mutation: a name left out of `docs/api.md`."""
    listed = set(re.findall(r"^::: aeb\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE))
    assert set(aeb.__all__) - {"__version__"} == listed
