# SPDX-License-Identifier: Apache-2.0
"""One chain over several devices and processes: run it, compare it, count what it sends."""

from devices.collectives import Collective, collectives, summed
from devices.launch import DIED, Layout, WorkerError, free_port, start, worker
from devices.roads import CHAINS, ROADS, Road

__all__ = [
    "CHAINS",
    "DIED",
    "ROADS",
    "Collective",
    "Layout",
    "Road",
    "WorkerError",
    "collectives",
    "free_port",
    "start",
    "summed",
    "worker",
]
