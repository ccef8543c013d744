# SPDX-License-Identifier: Apache-2.0
"""Which chains run on which layouts, and which steps are counted."""

import dataclasses
from typing import Any, Literal

from benchmarks.harness.ranges import Count
from benchmarks.scaling.launch import Layout
from benchmarks.scaling.worker import Road
from benchmarks.speed.nets import Net

ALONE: Road = "data parallel"
"""Whose chain on one device is that of any road with one chain."""


@dataclasses.dataclass(frozen=True)
class Chain:
    """The same chain on several layouts."""

    nets: tuple[Net, ...] = ("small_mlp", "slim_resnet")  # the second has BatchNorm
    # Devices and processes, each against one device.
    layouts: tuple[Layout, ...] = (Layout(2), Layout(4), Layout(8), Layout(8, 2))
    everywhere: tuple[Road, ...] = (ALONE, "chains")  # roads to take on each layout
    # Roads to take on the first layout with the most devices alone.
    at_most: tuple[Road, ...] = ("sharded state", "shard_map")
    batch_size: Count = 32  # rows of a global batch
    steps: Count = 5  # steps of a chain
    orders: Count = 3  # other orders of the rows, for the yardstick
    precision: Literal["float32", "float64"] = "float32"  # of weights, data and latents

    def roads(self, layout: Layout) -> tuple[Road, ...]:
        widest = max(self.layouts, key=lambda layout: layout.devices)
        return (*self.everywhere, *(self.at_most if layout == widest else ()))

    def config(self, net: str, layout: Layout, road: Road) -> dict[str, Any]:
        return {
            "section": "chain",
            "net": net,
            "road": road,
            "devices": layout.devices,
            "processes": layout.processes,
            **{n: getattr(self, n) for n in ("batch_size", "steps", "orders", "precision")},
        }


@dataclasses.dataclass(frozen=True)
class Communication:
    """What a step sends."""

    nets: tuple[Net, ...] = ("resnet20", "mlp10m")  # networks
    roads: tuple[Road, ...] = ("data parallel", "sharded state", "chains")  # roads, a row each
    devices: Count = 8  # devices
    batch_size: Count = 128  # rows of a global batch

    def config(self, net: str, road: Road) -> dict[str, Any]:
        sizes = {"devices": self.devices, "batch_size": self.batch_size}
        return {"section": "communication", "net": net, "road": road, **sizes}


IN_DOUBLE = Chain(
    nets=("slim_resnet",), layouts=(Layout(8), Layout(8, 2)), at_most=(), precision="float64"
)
