# SPDX-License-Identifier: Apache-2.0
"""The folder that `aeb demo` or `aeb compress` leaves: read it, judge it, and make a page of it."""

from aeb.runs.folder import Run, read_run
from aeb.runs.health import health
from aeb.runs.page import page

__all__ = ["Run", "health", "page", "read_run"]
