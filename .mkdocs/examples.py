# SPDX-License-Identifier: Apache-2.0
"""Let the reference show examples as code.

Our docstrings say "Example:", as Google's style has it. The parser of the site knows "Examples:"
alone, and takes ours for prose.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Examples"]


class Examples(griffe.Extension):
    """Rename the section before it is parsed; griffe takes a class and nothing else."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rename it in one docstring."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
