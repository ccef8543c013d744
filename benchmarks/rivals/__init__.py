# SPDX-License-Identifier: Apache-2.0
"""What `peers.py` compares: each rival a function from x and y to an `Estimate`."""

from rivals import horseshoe, lasso, least_squares, mcp, ours
from rivals.estimate import Estimate
from rivals.horseshoe import Horseshoe
from rivals.mcp import MCP
from rivals.memory import peak_bytes, reset_peak
from rivals.scores import score

__all__ = [
    "MCP",
    "Estimate",
    "Horseshoe",
    "horseshoe",
    "lasso",
    "least_squares",
    "mcp",
    "ours",
    "peak_bytes",
    "reset_peak",
    "score",
]
