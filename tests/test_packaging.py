# SPDX-License-Identifier: Apache-2.0
"""What a user of the released package meets first: its import, its version, how to cite it.

Building and installing it is `.ci/package`'s. Mutations that fail here: flax, matplotlib or
scipy.special imported at the top of a module of `aeb`, another version or author in `CITATION.cff`
or in the BibTeX, a Python left out of the workflow's matrix, a step of a job without an action.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import aeb

ROOT = Path(__file__).parent.parent
HEAVY = (
    "arviz",
    "array_record",
    "blackjax",
    "flax",
    "grain",
    "matplotlib",
    "orbax",
    "pandas",
    "rich",
    "scipy.special",
    "scipy.stats",
    "sklearn",
    "tensorflow_datasets",
    "tyro",
)
"""What is imported when it is used."""


def python(code):
    """Run a program in a process of its own, and return what it prints."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_aeb_imports_nothing_heavy():
    """Beside what jax and optax import themselves."""
    code = f"""
import sys
import jax, optax
before = set(sys.modules)
import aeb
print(*[name for name in {HEAVY} if name in set(sys.modules) - before])
"""
    assert python(code).split() == []


@pytest.mark.slow
def test_importing_aeb_takes_a_part_of_what_jax_takes():
    """In CPU seconds, the least of three: 0.15 beside 0.58, which were 0.29 with scipy.special."""
    code = """
import time
start = time.process_time()
import jax, optax
middle = time.process_time()
import aeb
print((time.process_time() - middle) / (middle - start))
"""
    assert min(float(python(code)) for _ in range(3)) < 0.4


def fields(entry):
    """Read the fields of one BibTeX entry."""
    return dict(re.findall(r"^ *(\w+) += \{+(.*?)\}+,?$", entry, re.MULTILINE))


def test_the_bibtex_says_what_the_citation_file_says():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    software, paper = fields(aeb.citation("software")), fields(aeb.citation("paper"))
    assert software == {
        "title": told["title"],
        "author": " and ".join(author["name"] for author in told["authors"]),
        "version": told["version"],
        "license": told["license"],
    }
    preferred = told["preferred-citation"]
    assert paper == {
        "title": preferred["title"],
        "author": " and ".join(
            f"{author['family-names']}, {author['given-names']}" for author in preferred["authors"]
        ),
        "booktitle": preferred["collection-title"],
        "year": str(preferred["year"]),
    }
    assert aeb.citation() == f"{aeb.citation('paper')}\n\n{aeb.citation('software')}"
    with pytest.raises(ValueError, match=r"^of: got 'thesis'"):
        aeb.citation("thesis")


def test_the_version_comes_from_one_place():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["dynamic"] == ["version"]
    assert "version" not in settings["project"]
    source = (ROOT / settings["tool"]["hatch"]["version"]["path"]).read_text()
    assert f'__version__ = "{aeb.__version__}"' in source
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == aeb.__version__


def jobs():
    """List the jobs of all workflows, with the name of the file."""
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    return [(file.stem, job) for file in files for job in _read(file)["jobs"].values()]


def _read(file):
    return yaml.safe_load(file.read_text())


def test_each_step_of_a_workflow_does_something():
    """YAML that GitHub takes: triggers, a machine, and an action or a command in each step."""
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        # YAML 1.1 reads the word `on` as true.
        assert _read(file)[True], file
        assert _read(file)["permissions"] == {"contents": "read"}
    assert {name for name, _ in jobs()} == {"docs", "release", "tests"}
    for name, job in jobs():
        assert job["runs-on"] == "ubuntu-latest"
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), (name, step)
            assert re.fullmatch(r"[\w-]+/[\w-]+@[\w/]+", step.get("uses", "a/b@v1")), step
            for script in re.findall(r"(?<!\S)\.ci/\w+", step.get("run", "")):
                assert (ROOT / script).exists()


def test_the_tests_run_on_each_python_that_the_package_names():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [
        kind.rsplit(" ", 1)[1]
        for kind in settings["project"]["classifiers"]
        if re.search(r"Python :: 3\.\d+$", kind)
    ]
    matrix = next(job["strategy"]["matrix"] for _, job in jobs() if "strategy" in job)
    assert matrix["python"] == named


def test_only_the_release_may_publish():
    allowed = {name: job["environment"] for name, job in jobs() if "id-token" in str(job)}
    assert allowed.keys() == {"docs", "release"}
    assert allowed["release"] == "pypi"
    assert allowed["docs"]["name"] == "github-pages"


def test_issue_forms_have_what_github_needs():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
    assert [form.stem for form in forms] == ["bug", "idea"]
    for form in forms:
        told = _read(form)
        assert told["name"]
        assert told["description"]
        assert all(part["attributes"]["label"] for part in told["body"])
        assert len({part["id"] for part in told["body"]}) == len(told["body"])
