# SPDX-License-Identifier: Apache-2.0
"""Let the reference show our docstrings whole.

Our docstrings say "Example:", as Google's style has it. The parser of the site knows "Examples:"
alone, and takes ours for prose. And the fields of our named tuples are explained by comments beside
them, which the site would not show.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Docstrings"]


class Docstrings(griffe.Extension):
    """Change docstrings before they are parsed; griffe takes a class and nothing else."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rename the section of examples in one docstring."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)

    def on_class(self, *, cls: Any, **_: Any) -> None:
        """Add the comments beside the fields of a class as its section of attributes."""
        if cls.docstring is None or re.search(r"^Attributes:$", cls.docstring.value, re.MULTILINE):
            return
        fields = [(name, one.lines) for name, one in cls.attributes.items() if one.lines]
        said = [(name, re.search(r"  # (.+)$", lines[-1])) for name, lines in fields]
        section = [f"    {name}: {found[1]}" for name, found in said if found]
        if section:
            head, *examples = re.split(r"\n(?=Examples?:\n)", cls.docstring.value)
            attributes = "\n".join(["Attributes:", *section])
            cls.docstring.value = "\n\n".join([head.rstrip(), attributes, *examples])
