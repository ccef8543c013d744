# SPDX-License-Identifier: Apache-2.0
"""Links and references lead where they say, as far as that can be seen without a network.

The strict build of the site checks links between pages of `docs/`; this also checks README,
CONTRIBUTING and the notebooks, as GitHub shows them. An address outside has to be listed here:
look it up before you add it.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "notebooks").glob("*.md"),
    *(ROOT / "notebooks").glob("*.py"),
    *(ROOT / "benchmarks").rglob("*.md"),
]
SOURCES = [*PAGES, *(ROOT / "aeb").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]

OUTSIDE = {
    "https://colab.research.google.com/assets/colab-badge.svg",
    "https://colab.research.google.com/github/",
    "https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees",
    "https://github.com/blackjax-devs/blackjax",
    "https://github.com/google-research/jaxpruner",
    "https://github.com/normal-computing/posteriors",
    "https://scikit-learn.org",
}
"""Addresses that pages may have: a new one is looked up and added here."""

PREPRINTS = {
    "1405.0506": "Windle, Polson and Scott",
    "1801.05787": "Theis, Korshunova, Tejani and Huszar",
    "2203.17208": "Spector and Janson",
    "2209.14624": "Gupta et al.",
}
"""Numbers on arXiv that were looked up, and the authors named beside them."""


def relative(path):
    return str(path.relative_to(ROOT))


def anchors(page):
    """Return what GitHub names the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_inside_lead_to_a_file_and_a_heading(page):
    """Mutations: a file renamed; a heading renamed; one folder too many."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\((?!https?:|mailto:|data:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def test_addresses_outside_are_known():
    """Mutation: `/blackjax-dev/blackjax`."""
    pattern = re.compile(r"https?://[^\s)>\]\"'`]+")
    used = {one.rstrip(".,;:") for page in PAGES for one in pattern.findall(page.read_text())}
    assert used == OUTSIDE


def test_preprints_are_those_of_the_authors_named():
    """Mutation: two digits of a number swapped."""
    used = set()
    for source in SOURCES:
        text = re.sub(r"\s+", " ", source.read_text())
        for found in re.finditer(r"arXiv[: ]*(\d{4}\.\d{4,5})", text, re.IGNORECASE):
            used.add(found[1])
            assert PREPRINTS[found[1]] in text[: found.start()][-250:], source
    assert used == set(PREPRINTS)
