# SPDX-License-Identifier: Apache-2.0
"""What the site makes by itself: a page of each notebook, an index of the reference, small repairs.

The notebooks are shown as they were run last, with their outputs; nothing is run here.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

__all__ = ["on_files", "on_page_content", "on_page_markdown"]

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
DOCS = Path(__file__).parent.parent / "docs"

PHRASE = 18
"""Cells of a table with more letters than this are phrases; figures are none."""


def on_files(files: Any, config: Any) -> Any:
    """Add the notebooks as pages."""
    overview = (NOTEBOOKS / "README.md").read_text()
    sources = {"index": relinked(overview)}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        sources[path.stem] = relinked(as_markdown(json.loads(path.read_text())["cells"]))
    for name, text in sources.items():
        files.append(File.generated(config, f"notebooks/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Find the notebooks, and list all names of the reference on its first page."""
    folder = posixpath.dirname(page.file.src_uri) or "."

    def notebook(found: re.Match[str]) -> str:
        name = "index" if found[1] == "README" else found[1]
        return f"({posixpath.relpath(f'notebooks/{name}.md', folder)})"

    markdown = re.sub(r"\((?:\.\./)+notebooks/(\w+)\.(?:md|ipynb)\)", notebook, markdown)
    return markdown + names() if page.file.src_uri == "api.md" else markdown


def names() -> str:
    """Return a table of all names of the reference, by page.

    The reference was one page once. Each name still has its anchor there, beside the link.
    """
    lines = ["\n## All names\n", "| page | names |", "|---|---|"]
    listed = re.findall(r"\[(.+)\]\(api/(\S+)\)", (DOCS / "api.md").read_text())
    for title, file in listed:
        found = re.findall(r"^::: (\S+)$", (DOCS / "api" / file).read_text(), re.MULTILINE)
        links = ", ".join(
            f'<a id="{name}"></a>[`{name.rpartition(".")[2]}`][{name}]' for name in found
        )
        lines.append(f"| [{title}](api/{file}) | {links} |")
    return "\n".join(lines) + "\n"


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Keep "90 %" and "1.0 ± 0.1" on one line, open pictures at their full size, tidy headings.

    Cells of a table that hold a phrase get a class, so that they are not squeezed on a phone.

    A function and its module share a name. It would stand twice on the page and in its contents.
    """
    for item in page.toc:
        without_doubles(item)
    html = re.sub(
        r'<h3 id="(aeb\.(?:\w+\.)*(\w+)\.\2)" class="doc.*?</h3>',
        r'<a id="\1"></a>',
        html,
        flags=re.DOTALL,
    )
    html = re.sub(r"<td( style=[^>]*)?>(.*?)</td>", as_words, html, flags=re.DOTALL)
    parts = re.split(r"(<pre.*?</pre>|<picture>.*?</picture>)", html, flags=re.DOTALL)
    for place in range(0, len(parts), 2):
        text = re.sub(r"(?<=\d) (?=%)|(?<=\d) (?=± \d)|(?<=±) (?=\d)", "&nbsp;", parts[place])
        parts[place] = re.sub(
            r'<img [^>]*?src="(?!https?:|data:)([^"]+)"[^>]*>', r'<a href="\1">\g<0></a>', text
        )
    return "".join(parts)


def as_words(cell: re.Match[str]) -> str:
    """Mark a cell of a table that holds more than a number or a name."""
    letters = sum(map(str.isalpha, re.sub(r"<[^>]*>", "", cell[2])))
    style = cell[1] or ""
    return f'<td class="words"{style}>{cell[2]}</td>' if letters > PHRASE else cell[0]


def without_doubles(item: Any) -> None:
    """Take a heading out of the contents where the one above it says the same."""
    children = []
    for child in item.children:
        children += child.children if child.title == item.title else [child]
    item.children[:] = children
    for child in item.children:
        without_doubles(child)


def as_markdown(cells: list[dict[str, Any]]) -> str:
    """Return the cells of a notebook as a page: text, code, and what the code printed or drew."""
    blocks = []
    for cell in cells:
        text = "".join(cell["source"])
        blocks.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = "".join(data["image/png"]).replace("\n", "")
                blocks.append(f"![What the code above draws](data:image/png;base64,{picture})")
            else:
                said = "".join(output.get("text", data.get("text/plain", "")))
                blocks.append(f"```text\n{said.rstrip()}\n```")
    return "\n\n".join(blocks)


def relinked(text: str) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    text = re.sub(r"\[!\[Open in Colab\].*\n", "", text)

    def link(found: re.Match[str]) -> str:
        target = found[2]
        if target.startswith("../docs/"):
            target = posixpath.relpath(target.removeprefix("../docs/"), "notebooks")
        elif target.startswith("../"):  # beside docs/, so no page of the site
            return found[1]
        return f"[{found[1]}]({target.replace('.ipynb', '.md')})"

    return re.sub(r"\[([^]]*)\]\(((?!https?:)[^)]+)\)", link, text)
