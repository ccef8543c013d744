# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown: the same chain, what is sent, and a plan on paper."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.scaling.collectives import KINDS, Collective
from benchmarks.scaling.launch import Layout
from benchmarks.scaling.run import PRESETS

Found = list[tuple[dict[str, Any], harness.Row | None]]
"""Configurations, and the row of each where there is one."""

PLANNED = (8, 64, 512)
"""Devices of the plan."""

RATES = (10, 100)
"""GB/s that a device can send, for the plan."""

PARTS = {
    "weights": ("position",),
    "momentum": ("momentum",),
    "latents": ("rho", "kappa0", "kappa1", "delta", "sigma"),
    "statistics": ("model_state",),
    "loss": ("loss",),
}
"""Columns, and the fields of the state that they gather."""

SAME = """\
Each line is a chain of {steps} steps on the same global batches of {batch_size} rows, with noise,
adaptation and pruning, against the same chain on one device: the largest difference of an entry,
over the largest entry of its array. The devices are virtual ones of a CPU; processes talk over
loopback by gloo. Sums taken in another order differ by float32 rounding, and how much that is for
a network is shown by the line "another order": one device, the rows of each batch permuted (the
largest of {orders}). The last column is the largest difference of a line in units of that one; up
to about 10 it is what rounding does. Beyond it lies what rounding sets off: where the input of a
ReLU is within rounding of zero, its gradient passes on one layout and not on another, and the chain
differs by that unit from there on; in float64, where rounding is 10^-16, it does not.
`shard_map` with `axis_name` is exact for a network without BatchNorm alone: there each device
normalises by the moments of its own rows, which is another model."""

SENT = """\
Read from the optimized program of a step at a global batch of {batch_size} on {devices} devices:
what the collectives deliver on a device, what a ring sends from one (2 (n - 1) / n of an
all-reduce, (n - 1) / n of an all-gather or all-to-all), and that over the bytes that the program of
a device reads and writes, as XLA counts them (a loop once). What a sharded
state sends depends on what XLA moves, weights or activations, and with the latter on the batch."""

PLAN = """\
On paper, from the bytes above and not measured: what a device sends in a step on n devices, and the
milliseconds that it takes at a rate of B GB/s, sent / (10^6 B), if it overlaps with nothing and
latency is nought; what sends nothing is left out. The global batch stays as it was; what an
all-to-all or a permute delivers would be less on more devices, and is left as it was counted."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    name = "smoke" if preset == "smoke" else "cpu"
    settings = PRESETS[name]
    configs = [dict(config) for unit in settings.units() for config in unit.configs]
    pairs = results.one_each(configs, settings.seed)
    chains, counts = (
        [pair for pair in pairs if pair[0]["section"] == section]
        for section in ("chain", "communication")
    )
    order = list(dict.fromkeys(_lead(config) for config, _ in chains))
    chains.sort(key=lambda pair: order.index(_lead(pair[0])))
    sizes = {"steps": settings.chain.steps, "orders": settings.chain.orders}
    sent = settings.communication
    parts = [
        "## Past one machine",
        f"`python -m benchmarks.scaling --preset {name}`",
        SAME.format(batch_size=settings.chain.batch_size, **sizes),
        _chains(chains),
        SENT.format(batch_size=sent.batch_size, devices=sent.devices),
        _counts(counts),
        PLAN,
        _plan(counts),
        markdown.made([row for _, row in pairs if row is not None]),
    ]
    return markdown.join(parts)


def _lead(config: Mapping[str, Any]) -> tuple[str, str]:
    double = ", float64" if config.get("precision") == "float64" else ""
    return config["net"] + double, config["road"]


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Write a table whose lines may end early: what is missing was not run."""
    full = [[*line, *[markdown.NOT_RUN] * (len(heads) - len(line))] for line in lines]
    return markdown.table(heads, full)


def _chains(pairs: Found) -> str:
    lines, told = [], set[tuple[str, str]]()
    for config, row in pairs:
        lead = _lead(config)
        line = [*lead, Layout(config["devices"], config["processes"]).name]
        if row is not None:
            apart, yardstick = (row["metrics"][name] for name in ("differences", "another_order"))
            if lead not in told:
                told.add(lead)
                lines.append([*lead, "1 device, another order", *_parts(yardstick), "1"])
            unit = max(yardstick.values())
            line += [*_parts(apart), f"{max(apart.values()) / unit:.2g}" if unit else "-"]
        lines.append(line)
    return _table(["network", "road", "layout", *PARTS, "over another order"], lines)


def _parts(differences: Mapping[str, float]) -> list[str]:
    cells = []
    for fields in PARTS.values():
        there = [differences[field] for field in fields if field in differences]
        cells.append(f"{max(there):.1e}" if there else "-")
    return cells


def _counts(pairs: Found) -> str:
    lines = []
    for config, row in pairs:
        line = [*_lead(config)]
        if row is not None:
            metrics = row["metrics"]
            found = metrics["collectives"]
            sent = sum(each["sent"] for each in found.values())
            line += [
                _megabytes(metrics["state_bytes_on_a_device"]),
                *(_megabytes(found[kind]["bytes"]) if kind in found else "0" for kind in KINDS),
                _megabytes(sent),
                f"{sent / metrics['bytes_accessed']:.2%}",
            ]
        lines.append(line)
    return _table(["network", "road", "state on a device", *KINDS, "sent", "share"], lines)


def _plan(pairs: Found) -> str:
    lines = []
    for (config, row), devices in itertools.product(pairs, PLANNED):
        line = [*_lead(config), f"{devices}"]
        if row is not None:
            sent = 0.0
            for kind, found in row["metrics"]["collectives"].items():
                # A shard of the sum, which is as much smaller as there are more devices.
                shard = config["devices"] / devices if kind == "reduce-scatter" else 1
                sent += Collective(kind, found["bytes"], 1).sent(devices) * shard
            if not sent:
                continue
            line += [_megabytes(sent), *(f"{sent / (1e6 * rate):.2f}" for rate in RATES)]
        lines.append(line)
    heads = ["network", "road", "n", "sent", *(f"ms at B = {rate}" for rate in RATES)]
    return _table(heads, lines)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.2f} MB"
