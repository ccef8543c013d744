# SPDX-License-Identifier: Apache-2.0
"""One chain over several devices and processes: the same chain, and what is sent.

The devices are virtual, of one CPU, and two processes talk over loopback by gloo: nothing here is a
time. Two sections:

    chain            a few steps of the same global batches on each layout, compared with one device
    communication    the collectives of a step, read from the optimized program; nothing is run

The differences to one device are those of float32 sums taken in another order, so beside them
stands the yardstick: one device that takes the rows of the same batches in another order. Rounding
grows along a chain of a nonlinear network, hence few steps, though large ones.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aeb import guards
from benchmarks import harness
from benchmarks.scaling import launch
from benchmarks.scaling.launch import Layout
from benchmarks.scaling.recipe import ALONE, IN_DOUBLE, Chain, Communication
from benchmarks.scaling.worker import CHAINS, Road


@dataclasses.dataclass(frozen=True)
class Scaling(harness.Settings):
    chain: Chain = Chain()  # the same chain on several layouts
    double: Chain = IN_DOUBLE  # the same where rounding is too small to turn a ReLU
    communication: Communication = Communication()  # what a step sends

    def check(self) -> None:
        super().check()
        sent, chains = self.communication, (self.chain, self.double)
        pairs = [(layout, chain.batch_size) for chain in chains for layout in chain.layouts]
        for layout, batch_size in (*pairs, (Layout(sent.devices), sent.batch_size)):
            guards.whole("devices", layout.devices, 1)
            guards.whole("processes", layout.processes, 1)
            sizes = (batch_size, CHAINS)
            if layout.devices % layout.processes or any(n % layout.devices for n in sizes):
                raise ValueError(
                    f"devices: {layout.name}: the processes have to share them evenly, and they "
                    f"the rows of each batch and the {CHAINS} chains"
                )

    def units(self) -> list[harness.Unit]:
        """List the networks, once for each section."""
        sent = self.communication
        chains = [
            harness.Unit(
                name=f"chain of {net} in {chain.precision}",
                configs=tuple(
                    chain.config(net, layout, road)
                    for layout in chain.layouts
                    for road in chain.roads(layout)
                ),
                seeds=(self.seed,),
                size=1 + len(chain.layouts),
                run=functools.partial(self._run_chains, chain, net),
            )
            for chain in (self.chain, self.double)
            for net in chain.nets
        ]
        counts = [
            harness.Unit(
                name=f"communication of {net}, {road}",
                configs=(sent.config(net, road),),
                seeds=(self.seed,),
                size=1,
                run=functools.partial(self._run_count, net, road),
            )
            for net in sent.nets
            for road in sent.roads
        ]
        return [*chains, *counts]

    def _run_chains(self, chain: Chain, net: str, folder: Path, report: Any) -> harness.Measured:
        """Run each layout in processes of its own; those that are done are passed over."""
        began = time.monotonic()
        finals = []
        roads = (ALONE, *(road for road in chain.everywhere if road != ALONE))
        jobs = [(Layout(1), roads, 1 + chain.orders)]
        jobs += [(layout, chain.roads(layout), 1) for layout in chain.layouts]
        for layout, taken, orders in jobs:
            out = folder / f"{layout.devices}_{layout.processes}.npz"
            if not out.exists():
                spec = chain.config(net, layout, ALONE) | {"orders": orders}
                _work(spec, layout, taken, out)
            with np.load(out) as arrays:
                finals.append(dict(arrays))
            report(1)
        alone, *others = finals
        rows = []
        for layout, final in zip(chain.layouts, others, strict=True):
            for road in chain.roads(layout):
                like = road if road in roads else ALONE
                yardsticks = [
                    differences(alone, like, alone, like, order)
                    for order in range(1, 1 + chain.orders)
                ]
                rows.append(
                    {
                        "differences": differences(alone, like, final, road),
                        "another_order": {
                            name: max(apart[name] for apart in yardsticks) for name in yardsticks[0]
                        },
                        "moved": differences(alone, ALONE, alone, "start")["position"],
                    }
                )
        return time.monotonic() - began, rows

    def _run_count(self, net: str, road: Road, folder: Path, report: Any) -> harness.Measured:
        """Compile a step in a process with so many devices."""
        began, sent, out = time.monotonic(), self.communication, folder / "counts.json"
        _work(sent.config(net, road), Layout(sent.devices), (road,), out)
        report(1)
        return time.monotonic() - began, [json.loads(out.read_text())[road]]


def _work(config: Mapping[str, Any], layout: Layout, roads: tuple[Road, ...], out: Path) -> None:
    """Hand a configuration to worker processes; the file is there only when it is whole."""
    half = out.with_name(f"half_{out.name}")
    half.parent.mkdir(parents=True, exist_ok=True)
    spec = {**config, **layout._asdict(), "roads": list(roads), "out": str(half)}
    launch.worker("benchmarks.scaling.worker", spec, layout)
    half.rename(out)


def differences(
    alone: Mapping[str, Any], like: str, final: Mapping[str, Any], road: str, order: int = 0
) -> dict[str, float]:
    """Compare two final states.

    Args:
        alone: arrays by `road|order|field|number`, among them the state to compare with.
        like: its road.
        final: the same, among them the state that is compared.
        road: its road.
        order: its order of rows.

    Returns:
        For each field the largest difference of an entry, over the largest entry of its array.
    """
    found: dict[str, float] = {}
    for name in (name for name in alone if name.startswith(f"{like}|0|")):
        _, _, field, number = name.split("|")
        before = alone[name].astype(float)
        after = final[f"{road}|{order}|{field}|{number}"].astype(float)
        largest = np.max(np.abs(before), initial=0.0)
        apart = np.max(np.abs(after - before), initial=0.0)
        found[field] = max(found.get(field, 0.0), float(apart / largest) if apart else 0.0)
    return found


PRESETS = {
    "smoke": Scaling(
        preset="smoke",
        chain=Chain(nets=("tiny",), layouts=(Layout(2, 2),), at_most=(), batch_size=8, orders=1),
        double=Chain(nets=()),
        communication=Communication(
            nets=("small_mlp",), roads=("sharded state",), devices=2, batch_size=8
        ),
    ),
    "cpu": Scaling(preset="cpu"),
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
