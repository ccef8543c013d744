# SPDX-License-Identifier: Apache-2.0
"""The code on the pages of the site runs as it stands and prints what they show.

Mutation: any renamed argument or name.
"""

import ast
import functools
import importlib
import inspect
import json
import re
import shlex
from pathlib import Path

import jax
import pytest
from printed import alike

import aeb
import aeb.models
from aeb.cli import main
from benchmarks import pages

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if pages.code(page.read_text())]


NEEDS = {"guides/deploy.md": "flatbuffers", "guides/regression.md": "pandas", "scaling.md": "grain"}
"""What the code of a page needs that is no dependency."""


def relative(page):
    return str(page.relative_to(DOCS))


def as_users_run_it(page):
    """Compile the code of most pages quickly; that on regression runs longer than it compiles."""
    marks = () if relative(page) == "guides/regression.md" else pytest.mark.quickly_compiled
    return pytest.param(page, marks=marks, id=relative(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", [as_users_run_it(page) for page in PAGES])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    if relative(page) in NEEDS:
        pytest.importorskip(NEEDS[relative(page)])
    monkeypatch.chdir(tmp_path)
    names, text = {}, page.read_text()
    # As a user runs it: without the strictness that the other tests ask for.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        printed = pages.run(text, names)
        commands = run_commands(text, capsys)
        for _, new in changes(text):
            exec("\n".join(new), dict(names))
    for said, output in zip(pages.shown(text), printed, strict=True):
        # To a factor of four: a learning rate that is found by trials goes in steps of three.
        assert said is None or alike(said, output, share=0.75), output
    shown = "".join(printed)
    if relative(page) == "getting-started.md":
        assert names["accuracy"] > 0.88
        assert abs(names["sparse"].report.sparsity - 0.9) < 0.001
    if relative(page) == "guides/compress.md":
        assert names["sparse"].after.accuracy > 0.9
        assert commands == 5
        assert (tmp_path / "run" / "report.html").exists()
        results = json.loads((tmp_path / "run" / "results.json").read_text())
        assert results["arms"]["sparse"][0]["accuracy"] > 0.9
    if relative(page) == "guides/uncertainty.md":
        near, far = (float(line.rsplit(" ", 1)[1]) for line in shown.splitlines()[:2])
        assert near > 0.95
        assert far < 0.9
    if relative(page) == "guides/regression.md":
        assert "['g12', 'g7']" in shown
        assert "['town[Ely]', 'town[York]']" in shown


def run_commands(text, capsys):
    """Run what a page has the reader type after `aeb `, but for what goes to the reader's home.

    Where a block of text stands right below, it is what they print. Returns how many there were.
    """
    count = 0
    for block, said in re.findall(r"```bash\n(.*?)```\n(?:\n```text\n(.*?)```)?", text, re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        lines = [line for line in lines if line.startswith("aeb ") and "~" not in line]
        capsys.readouterr()
        for line in lines:
            assert main(shlex.split(line)[1:]) == 0, line
        printed = capsys.readouterr().out
        assert not said or alike(said, printed), printed
        count += len(lines)
    return count


def changes(text):
    """Return the old lines and the new lines of each diff on a page."""
    found = []
    for diff in re.findall(r"^```diff\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines = diff.splitlines()
        found.append([[line[1:] for line in lines if line[:1] == sign] for sign in "-+"])
    return found


@pytest.mark.parametrize("guide", ["compress", "regression", "uncertainty"])
def test_little_changes_in_a_loop_that_is_there(guide):
    """A guide for each kind of user shows what changes. Its diffs run with its page.

    Mutations: the diff of `uncertainty.md` taken out; eight more lines in it.
    """
    found = changes((DOCS / "guides" / f"{guide}.md").read_text())
    assert found
    for old, new in found:
        assert 0 < len(old) + len(new) < 20
        assert any("aeb." in line or "tx" in line for line in new)


def looked_up(block):
    """Return what a block of code takes from the library, and the keywords that it calls it with.

    Names that the block makes itself, and attributes of values, are left to the run.
    """
    tree, found = ast.parse(block), []
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "aeb"
        for alias in node.names
    }
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        path = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        head, *rest = path.split(".")
        if not re.fullmatch(r"[\w.]+", path) or head not in ("aeb", *imported):
            continue
        module, *name = imported.get(head, ("aeb",))
        keywords = [each.arg for each in calls[id(node)].keywords] if id(node) in calls else []
        found.append((module, [*name, *rest], [keyword for keyword in keywords if keyword]))
    return found


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_what_the_pages_take_from_the_library_is_there(page):
    """Mutations: `warmup=` renamed in `aeb.sample`; `aeb.magnitude` renamed."""
    for block in pages.code(page.read_text()):
        for module, names, keywords in looked_up(block):
            value = functools.reduce(getattr, names, importlib.import_module(module))
            if keywords:
                inspect.signature(value).bind_partial(**dict.fromkeys(keywords))


def test_all_code_runs_but_what_needs_several_hosts():
    """Mutation: a block of `scaling.md` marked `py`, which is not run."""
    for page in DOCS.rglob("*.md"):
        for block in re.findall(r"^```py\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            assert re.fullmatch(r"jax\.distributed\.initialize\(.*\)\n", block), page


def test_outputs_go_below_their_blocks():
    """Mutation: the output looked for anywhere below the block, not right below it."""
    page = "a\n```python\nprint(1)\n```\n\n```text\nold\n```\nb\n```python\nx = 2\n```\nc\n"
    page += "```python\nprint(x)\n```\n\nnot its output:\n\n```text\nkept\n```\n"
    assert pages.shown(page) == ["old\n", None, None]
    assert pages.run(page) == ["1\n", "", "2\n"]
    assert pages.filled(page, pages.run(page)) == page.replace("old", "1")


def test_numbers_may_differ_a_little_and_words_may_not():
    """Mutations: `abs_tol` left out; `share=0.75`."""
    assert alike("a  0.50 of 1,000\n", "a 0.52 of 1,001")
    assert alike("0.01", "0.03")
    assert not alike("a 0.50", "a 0.80")
    assert not alike("a 0.50", "b 0.50")
    assert not alike("a 0.50", "a -0.50")
    assert not alike("a 0.50", "a 0.50 0.50")


def test_the_reference_has_every_public_name():
    """Mutations: a name left out of its page, or on two; a page left out of `docs/api.md`."""
    files = sorted((DOCS / "api").glob("*.md"))
    pages_listed = re.findall(r"\(api/(\S+)\)", (DOCS / "api.md").read_text())
    assert sorted(pages_listed) == [file.name for file in files]
    listed = [
        name
        for file in files
        for name in re.findall(r"^::: aeb\.(\w+)$", file.read_text(), re.MULTILINE)
    ]
    beside = {"models"}  # a module that `import aeb` leaves out
    assert sorted(listed) == sorted({*aeb.__all__, *aeb.ESTIMATORS, *beside} - {"__version__"})


def test_the_reference_has_what_pages_and_notebooks_import():
    """Mutations: `docs/api/models.md` taken out; `noise_like` taken off its page."""
    listed = {
        name
        for file in (DOCS / "api").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", file.read_text(), re.MULTILINE)
    }
    sources = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
    sources += (ROOT / "notebooks").glob("*.py")
    missing = []
    for source in sources:
        text = source.read_text()
        for module, names in re.findall(r"^from (aeb\S*) import (.+)$", text, re.MULTILINE):
            for name in names.split(", "):
                if module != "aeb.cli" and not {module, f"{module}.{name}"} & listed:
                    missing.append(f"{source.name}: {module}.{name}")
    assert not missing


def test_no_network_is_taken_for_a_constant():
    """The site leaves out names in capitals. Mutation: the filters of `docs/api/models.md`."""
    for file in (DOCS / "api").glob("*.md"):
        blocks = re.findall(r"^::: aeb\.(\w+)\n((?:    .*\n)*)", file.read_text(), re.MULTILINE)
        for name, options in blocks:
            inside = getattr(getattr(aeb, name), "__all__", ())
            capitals = [part for part in inside if part.isupper()]
            assert not capitals or "filters:" in options, (file, capitals)


def test_no_description_is_read_as_a_quotation():
    """Markdown makes one of what begins with ">". Mutation: "learning_rate: > 0" in `aeb.sgld`."""
    for source in (ROOT / "aeb").rglob("*.py"):
        assert not re.search(r"^ +\w+: >", source.read_text(), re.MULTILINE), source


NO_EXAMPLE = {
    "aeb.types": "types only",
    "aeb.Compressed.export": "needs flatbuffers; `aeb.export` has one",
    "aeb.Regression.to_arviz": "needs ArviZ; `aeb.to_arviz` has one",
    "aeb.models.Resized.setup": "Flax calls it",
}
"""Names of the reference that need no example of their own, and why."""


def resolved(name):
    """Return what a name of the reference refers to. A function may hide the module of its name."""
    module, _, last = name.rpartition(".")
    try:
        return functools.reduce(getattr, name.split(".")[1:], aeb)
    except AttributeError:
        return getattr(importlib.import_module(module), last)


def test_every_name_of_the_reference_has_an_example():
    """The example of a class may be that of its methods, if it calls them.

    Mutations: the example of `aeb.State` taken out; those of `aeb.checkpoint.restore` and
    `aeb.runs.read_run`; `fit.plot` left out of that of `aeb.Regression`.
    """
    named = {"aeb.models"}
    for file in (DOCS / "api").glob("*.md"):
        named |= set(re.findall(r"^::: (\S+)$", file.read_text(), re.MULTILINE))
    for name in sorted(named):
        if inspect.ismodule(resolved(name)):
            named |= {f"{name}.{part}" for part in resolved(name).__all__}
    without = []
    for name in sorted(named):
        value = resolved(name)
        text = getattr(value, "__doc__", None) or ""
        if callable(value) and ">>> " not in text:
            without.append(name)
        for part, method in vars(value).items() if inspect.isclass(value) else ():
            is_public = inspect.isfunction(method) and not part.startswith("_")
            if is_public and ">>> " not in (method.__doc__ or "") and f".{part}(" not in text:
                without.append(f"{name}.{part}")
    excused = [name for name in without if any(name.startswith(each) for each in NO_EXAMPLE)]
    assert sorted(set(without) - set(excused)) == []
    assert {each for each in NO_EXAMPLE for name in excused if name.startswith(each)} == {
        *NO_EXAMPLE
    }
