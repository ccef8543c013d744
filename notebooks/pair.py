# SPDX-License-Identifier: Apache-2.0
"""Run the notebooks and write each beside its script: `python notebooks/pair.py [NAME ...]`.

A notebook is two files of the same cells: `NAME.py`, jupytext's percent format, which is edited,
read and linted; and `NAME.ipynb`, made from it here, with what the cells printed. What would differ
from one machine or run to the next is left out: times, versions, the text of warnings.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
METADATA = {
    "accelerator": "GPU",  # what Colab gives the notebook
    "jupytext": {"formats": "ipynb,py:percent"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class NotebookCell(NamedTuple):
    """A cell of a notebook."""

    kind: str  # "code" or "markdown"
    source: str


def scripts() -> list[Path]:
    """List the scripts that have a notebook."""
    return sorted(path for path in FOLDER.glob("*.py") if path != Path(__file__))


def cells_of_script(text: str) -> list[NotebookCell]:
    """Read the percent format: a cell begins at `# %%`, prose at `# %% [markdown]`."""
    cells = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        lines = body.strip("\n").split("\n")
        if "[markdown]" in title:
            cells.append(
                NotebookCell("markdown", "\n".join(re.sub("^# ?", "", line) for line in lines))
            )
        else:
            cells.append(NotebookCell("code", "\n".join(lines)))
    return cells


def cells_of_notebook(notebook: dict[str, Any]) -> list[NotebookCell]:
    """Read the cells of an `.ipynb` file, parsed as JSON."""
    return [NotebookCell(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def shown(outputs: list[Any]) -> list[Any]:
    """Leave out warnings, and make one text of what was printed in pieces."""
    kept: list[Any] = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if kept and output["output_type"] == kept[-1]["output_type"] == "stream":
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    return kept


def make(script: Path) -> None:
    """Run a script's cells in a kernel and write its notebook."""
    import nbformat
    from nbclient import NotebookClient
    from nbformat import v4

    cells = []
    for number, (kind, source) in enumerate(cells_of_script(script.read_text())):
        cell = v4.new_code_cell(source) if kind == "code" else v4.new_markdown_cell(source)
        cell["id"] = hashlib.sha256(f"{script.stem} {number}".encode()).hexdigest()[:8]
        cells.append(cell)
    notebook = v4.new_notebook(cells=cells, metadata=METADATA)
    client = NotebookClient(
        notebook, timeout=3600, record_timing=False, resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = shown(cell.outputs)
    nbformat.write(notebook, script.with_suffix(".ipynb"))


def main() -> None:
    """Make the notebooks that were named, or all of them."""
    for script in [FOLDER / f"{name}.py" for name in sys.argv[1:]] or scripts():
        print(script.stem, flush=True)
        make(script)


if __name__ == "__main__":
    main()
