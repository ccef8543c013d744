# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown: the same chain, what is sent, and a plan on paper."""

from collections.abc import Mapping
from typing import Any

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.scaling.collectives import Collective
from benchmarks.scaling.launch import Layout
from benchmarks.scaling.run import PRESETS

__all__ = ["PLANNED", "RATES", "report"]

Found = list[tuple[dict[str, Any], harness.Row | None]]
"""Configurations, and the row of each where there is one."""

SHOWN: dict[str, str] = {"smoke": "smoke"}
"""Presets of this script, by that of the report; all others show cpu."""

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
    name = SHOWN.get(preset, "cpu")
    settings = PRESETS[name]
    configs = [dict(config) for unit in settings.units() for config in unit.configs]
    pairs = results.one_each(configs, settings.seed)
    chains = [pair for pair in pairs if pair[0]["section"] == "chain"]
    order = list(dict.fromkeys(_lead(config) for config, _ in chains))
    chains.sort(key=lambda pair: order.index(_lead(pair[0])))
    counts = [pair for pair in pairs if pair[0]["section"] == "communication"]
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
    double = ", float64" if config["precision"] == "float64" else ""
    return config["net"] + double, config["road"]


def _chains(pairs: Found) -> str:
    heads = ["network", "road", "layout", *PARTS, "over another order"]
    lines, told = [], set[tuple[str, str]]()
    for config, row in pairs:
        layout = Layout(config["devices"], config["processes"])
        lead = [*_lead(config), layout.name]
        if row is None:
            lines.append([*lead, *[markdown.NOT_RUN] * (len(PARTS) + 1)])
            continue
        apart, yardstick = (row["metrics"][name] for name in ("differences", "another_order"))
        if _lead(config) not in told:
            told.add(_lead(config))
            lines.append([*lead[:2], "1 device, another order", *_parts(yardstick), "1"])
        unit = max(yardstick.values())
        ratio = f"{max(apart.values()) / unit:.2g}" if unit else "-"
        lines.append([*lead, *_parts(apart), ratio])
    return markdown.table(heads, lines)


def _parts(differences: Mapping[str, float]) -> list[str]:
    cells = []
    for fields in PARTS.values():
        there = [differences[field] for field in fields if field in differences]
        cells.append(f"{max(there):.1e}" if there else "-")
    return cells


def _counts(pairs: Found) -> str:
    kinds = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
    heads = ["network", "road", "state on a device", *kinds, "sent", "share"]
    lines = []
    for config, row in pairs:
        lead = [config["net"], config["road"]]
        if row is None:
            lines.append([*lead, *[markdown.NOT_RUN] * (len(kinds) + 3)])
            continue
        metrics = row["metrics"]
        found = metrics["collectives"]
        sent = sum(each["sent"] for each in found.values())
        lines.append(
            [
                *lead,
                _megabytes(metrics["state_bytes_on_a_device"]),
                *(_megabytes(found[kind]["bytes"]) if kind in found else "0" for kind in kinds),
                _megabytes(sent),
                f"{sent / metrics['bytes_accessed']:.2%}",
            ]
        )
    return markdown.table(heads, lines)


def _plan(pairs: Found) -> str:
    heads = ["network", "road", "n", "sent", *(f"ms at B = {rate}" for rate in RATES)]
    lines = []
    for config, row in pairs:
        if row is not None and not row["metrics"]["collectives"]:
            continue
        for devices in PLANNED:
            lead = [config["net"], config["road"], f"{devices}"]
            if row is None:
                lines.append([*lead, *[markdown.NOT_RUN] * (1 + len(RATES))])
                continue
            sent = 0.0
            for kind, found in row["metrics"]["collectives"].items():
                # A shard of the sum, which is as much smaller as there are more devices.
                shard = config["devices"] / devices if kind == "reduce-scatter" else 1
                sent += Collective(kind, found["bytes"], 1).sent(devices) * shard
            times = [f"{sent / (1e6 * rate):.2f}" for rate in RATES]
            lines.append([*lead, _megabytes(sent), *times])
    return markdown.table(heads, lines)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.2f} MB"
