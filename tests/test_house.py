# SPDX-License-Identifier: Apache-2.0
"""The arrows of import that CONTRIBUTING.md draws, read off the source.

Mutations that fail here: `from aeb.kernel import build_kernel` in `aeb/priors/gaussian.py`;
`import flax` at the top of `aeb/sampling/runner.py`; a file put into `aeb/` that has no floor.
"""

import ast
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


@pytest.mark.parametrize("path", FILES, ids=str)
def test_arrows_run_downward(path):
    module = path.parts[0].removesuffix(".py")
    if module in ("__init__", "version", "__main__"):
        return
    floor = floor_of(module)
    for name in imports(path, top=False):
        if not name.startswith("aeb."):
            continue
        other = name.split(".")[1]
        is_module = (ROOT / other).is_dir() or (ROOT / f"{other}.py").exists()
        if not is_module or other == "version":
            continue  # a name of aeb/__init__.py
        assert floor_of(other) <= floor, f"{path} imports {name}, from a higher floor"


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
