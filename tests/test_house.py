# SPDX-License-Identifier: Apache-2.0
"""The arrows of import that CONTRIBUTING.md draws, read off the source.

Mutations that fail here: `from aeb.kernel import build_kernel` in `aeb/priors/gaussian.py`;
`import flax` at the top of `aeb/sampling/runner.py`; a file put into `aeb/` that has no floor;
`import aeb.compress` inside a function of `aeb/network.py`; `from aeb.sparsity.rule import Masks`
in `aeb/dynamics/sgld.py`, and one of `aeb.stochastic_approximation` in `aeb/sparsity/rule.py`.
"""

import ast
import graphlib
import re
import sys
from pathlib import Path

import pytest

import aeb

ROOT = Path(aeb.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))

CORE = {"jax", "jaxlib", "numpy", "optax", "tqdm", "safetensors", "aeb"}
"""What all floors below the models may import at their top: the card's, a bar and a file format."""


def floors():
    """Read the floors from CONTRIBUTING.md, the lowest first."""
    text = CONTRIBUTING.read_text()
    block = re.search(r"Arrows of import run downward only:\n\n((?: {4}.*\n)+)", text)[1]
    return [set(line.replace(",", " ").split()) for line in block.splitlines()]


def floor_of(module):
    found = [number for number, names in enumerate(floors()) if module in names]
    assert len(found) == 1, f"{module} stands on {len(found)} floors of CONTRIBUTING.md"
    return found[0]


def imports(path, *, top):
    """List what a file imports as dotted names; only at its top, or anywhere."""
    tree = ast.parse((ROOT / path).read_text())
    for node in tree.body if top else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "aeb":
                yield from (f"aeb.{alias.name}" for alias in node.names)
            else:
                yield node.module


def neighbours(path):
    """List the modules of `aeb` that a file imports anywhere, each with the name it goes by."""
    for name in imports(path, top=False):
        other = name.split(".")[1] if name.startswith("aeb.") else ""
        is_module = (ROOT / other).is_dir() or (ROOT / f"{other}.py").exists()
        if other and is_module and other != "version":  # or else a name of aeb/__init__.py
            yield other, name


@pytest.mark.parametrize("path", FILES, ids=str)
def test_arrows_run_downward(path):
    module = path.parts[0].removesuffix(".py")
    if module in ("__init__", "version", "__main__"):
        return
    floor = floor_of(module)
    for other, name in neighbours(path):
        assert floor_of(other) <= floor, f"{path} imports {name}, from a higher floor"


def arrows():
    """Map each module of a floor to the others that its files import."""
    found = {module: set() for floor in floors() for module in floor}
    for path in FILES:
        module = path.parts[0].removesuffix(".py")
        if module in found:
            found[module] |= {other for other, _ in neighbours(path)} - {module}
    return found


def test_the_modules_of_a_floor_do_not_import_one_another_in_a_circle():
    """From floor to floor there is none, by the test above."""
    try:
        graphlib.TopologicalSorter(arrows()).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"modules that import one another: {' <- '.join(error.args[1])}")


def test_the_ingredients_do_not_import_one_another():
    (floor,) = [floor for floor in floors() if "priors" in floor]
    assert floor == {"dynamics", "priors", "sparsity", "stochastic_approximation"}
    beside = {module: arrows()[module] & floor for module in floor}
    assert beside.pop("priors") <= {"stochastic_approximation"}
    assert not any(beside.values()), beside


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_core_is_light(path):
    module = path.parts[0].removesuffix(".py")
    if module in ("__init__", "version", "__main__") or floor_of(module) > floor_of("sampling"):
        return
    for name in imports(path, top=True):
        package = name.split(".")[0]
        assert package in CORE | set(sys.stdlib_module_names), f"{path} imports {name} at its top"


def test_the_benchmarks_need_no_command():
    """Mutation: `from aeb.cli.output import plain` in a benchmark."""
    folder = CONTRIBUTING.parent / "benchmarks"
    files = sorted(folder.rglob("*.py"))
    assert files
    for path in files:
        assert not any(name.startswith("aeb.cli") for name in imports(path, top=False)), path
