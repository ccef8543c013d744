# SPDX-License-Identifier: Apache-2.0
"""Input at fault, found after the words were read."""

from __future__ import annotations

__all__ = ["UsageError"]


class UsageError(Exception):
    """Its message says what to change; the command prints it as one line and exits with 2."""
