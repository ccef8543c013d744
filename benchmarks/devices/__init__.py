# SPDX-License-Identifier: Apache-2.0
"""One chain over several devices and processes: run it, compare it, count what it sends."""

from devices.collectives import Collective, collectives, summed
from devices.launch import DIED, Layout, WorkerError, free_port, make_mesh, start, worker

__all__ = [
    "DIED",
    "Collective",
    "Layout",
    "WorkerError",
    "collectives",
    "free_port",
    "make_mesh",
    "start",
    "summed",
    "worker",
]
