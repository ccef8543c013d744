# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown: the targets first, then a table a section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.speed.clock import Spread, ratio, spread
from benchmarks.speed.convolutions import KINDS
from benchmarks.speed.run import PRESETS
from benchmarks.speed.targets import TARGETS, Target, part_costs, seconds

__all__ = ["SHOWN", "found", "picture_name", "report"]

Found = list[tuple[dict[str, Any], harness.Row | None]]
"""Configurations, and the row of each where there is one."""

Cells = Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]
"""`(config, metrics) -> cells` of a line."""


SHOWN: dict[str, tuple[str, ...]] = {
    "smoke": ("smoke",),
    "cpu": ("cpu",),
    "gpu": ("gpu",),
    "paper": ("cpu", "gpu"),
}
"""Presets of this script to show, by the preset of the report."""

NOTE = """\
Contenders of a row are timed in turn, each warm and with its state used up by the step; a figure is
the median over rounds of the ratio within a round, with its quartiles in brackets. Ratios within a
row mean something, seconds of a shared CPU do not. For a miss the last column says what costs it,
in units of the denominator: for a step, what ours saves by leaving that part out (parts share
passes, so they need not add up), and as rest what is left without noise, latents and pruning. The
floor draws by `jax.random.normal`, as one would by hand; the tables below also have a stricter one.
PyTorch's sampler is our writing of Algorithm 1, not the authors' file."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    """Make the section of the report (`harness.Section`)."""
    shown = {name: found(name, results) for name in SHOWN[preset]}
    parts = ["## What a step costs", NOTE]
    if preset != "smoke":  # whose sizes no target speaks of
        parts.append(_targets([pair for own in shown.values() for pair in own]))
    for name, rows in shown.items():
        there = [row for _, row in rows if row is not None]
        parts += [f"### `python -m benchmarks.speed --preset {name}`", markdown.made(there)]
        if there:
            parts.append(f"![What a step costs, preset {name}](figures/{picture_name(name)})")
        parts += [_section(section, rows) for section in TABLES]
    return markdown.join(parts)


def found(preset: str, results: harness.Results) -> Found:
    """Look up the rows of a preset of this script."""
    settings = PRESETS[preset]
    return results.one_each(map(settings.config, settings.races()), settings.seed)


def picture_name(preset: str) -> str:
    """Name the figure of a preset."""
    return f"speed_{preset}.png"


def _targets(rows: Found) -> str:
    heads = ["target", "at most", "measured", "", "what costs it"]
    return markdown.table(heads, [_target(target, rows) for target in TARGETS])


def _target(target: Target, rows: Found) -> list[str]:
    line = [target.text, f"{target.limit:g} {target.unit}"]
    fitting = [row for config, row in rows if row is not None and target.fits(config)]
    if not fitting:
        return [*line, markdown.NOT_RUN, "", ""]
    metrics = fitting[0]["metrics"]
    measured = target.measured(metrics)
    line.append(f"{_brief(measured)} {target.unit}")
    if measured.median <= target.limit:
        return [*line, "met", ""]
    over = measured.median / target.limit - 1.0
    return [*line, f"missed by {over:.0%}", target.blame(metrics) if target.blame else ""]


def _section(name: str, rows: Found) -> str:
    """Make the table of a section, if the preset has it."""
    own = [(config, row) for config, row in rows if config["section"] == name]
    if not own:
        return ""
    title, heads, cells = TABLES[name]
    lines = []
    for config, row in own:
        lead = _lead(name, config)
        if row is None:
            lines.append([lead, *[markdown.NOT_RUN] * len(heads)])
        else:
            lines.append([lead, *cells(config, row["metrics"])])
    return f"{title}\n\n" + markdown.table(["", *heads], lines)


def _lead(section: str, config: Mapping[str, Any]) -> str:
    """Say which row of a section it is."""
    if "size" in config:
        return f"{config['size']:,} weights"
    if section == "simulation":
        return f"{config['chains']} chains a data set"
    named = config.get("net", config.get("model", section))
    return f"{named}, batch {config['batch_size']}"


def _ratio(config: Mapping[str, Any], metrics: Mapping[str, Any], top: str, bottom: str) -> str:
    del config
    times = metrics["seconds"]
    return _brief(ratio(times, top, bottom)) if {top, bottom} <= set(times) else "-"


def _ratios(*pairs: tuple[str, str]) -> Cells:
    return lambda config, metrics: [_ratio(config, metrics, *pair) for pair in pairs]


def _absolute(config: Mapping[str, Any], metrics: Mapping[str, Any], name: str) -> str:
    """Milliseconds, on a GPU alone."""
    if config["backend"] != "gpu":
        return "-"
    return _brief(seconds(metrics, name, times=1e3))


def _steps(bottom: str) -> Cells:
    def cells(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
        costs = part_costs(metrics, bottom)
        parts = [
            f"{costs[part].median:+.2f}" if costs else "-"
            for part in ("noise", "latents", "pruning", "rest")
        ]
        return [
            _ratio(config, metrics, "ours", bottom),
            _ratio(config, metrics, "ours", "floor"),
            _ratio(config, metrics, "ours", "strict_floor"),
            *parts,
            _absolute(config, metrics, "ours"),
        ]

    return cells


def _sampler(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    rates = [
        metrics["bytes"] / metrics["seconds"][name]["median"] / 1e9 for name in ("pass", "ours")
    ]
    gpu = config["backend"] == "gpu"
    return [
        *_steps("floor")(config, metrics)[1:],
        _ratio(config, metrics, "pass", "ours"),
        *(f"{rate:.0f}" if gpu else "-" for rate in rates),
    ]


def _threshold(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    def exact(name: str) -> str:
        kinds = metrics["exact"]
        off = [kinds[kind][name]["zeros"] - metrics["zeros"] for kind in ("normal", "tied")]
        same = all(kinds[kind][name]["same"] for kind in kinds)
        return f"{off[0]:+d}, {off[1]:+d}" + ("" if same else ", other weights")

    return [
        *_ratios(("sort", "ours"), ("top_k", "ours"))(config, metrics),
        *(exact(name) for name in ("ours", "sort", "top_k")),
        _absolute(config, metrics, "ours"),
    ]


def _nuts(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    del config

    def cost_of(name: str) -> list[float]:
        ess = metrics["samplers"][name]["least_ess"]
        return [value / ess for value in metrics["seconds"][name]["rounds"]]

    own = metrics["samplers"]
    line = []
    for name in ("aeb_sghmc", "aeb_sgld"):
        pairs = zip(cost_of(name), cost_of("nuts"), strict=True)
        line.append(_brief(spread([a / b for a, b in pairs])))
        line.append(f"{own[name]['mean_error']:.2f}, {own[name]['sd_ratio']:.2f}")
    return [*line, f"{own['nuts']['least_ess']:.0f}"]


def _simulation(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    few, many = min(config["data_sets"]), max(config["data_sets"])
    return [
        _brief(seconds(metrics, f"step_{few}", times=1e6)),
        _ratio(config, metrics, f"step_{few}", f"products_{few}"),
        f"{_ratio(config, metrics, f'step_{many}', f'step_{few}')} ({many})",
        _ratio(config, metrics, f"step_{many}", f"products_{many}"),
    ]


def _chains(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    one = str(min(config["counts"]))
    each = (f"{n}: {_ratio(config, metrics, str(n), one)}" for n in config["counts"])
    return ["; ".join(each)]


def _data(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    # Loading happens once, before the steps, and is timed apart from them.
    loads = metrics["seconds"]["step"]["median"] / metrics["seconds"]["load"]["median"]
    return [*_ratios(("step", "gather"), ("step", "augment"))(config, metrics), f"{loads:.3g}"]


def _compile(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    ours, sgd = metrics["steps"]["ours"], metrics["steps"]["sgd"]
    return [
        _brief(seconds(metrics, "ours")),
        _ratio(config, metrics, "ours", "sgd"),
        f"{ours['traces']}",
        f"{ours['peak_over_parameters']:.1f} ({sgd['peak_over_parameters']:.1f})",
        f"{ours['state_over_parameters']:.2f} ({sgd['state_over_parameters']:.2f})",
    ]


def _epoch(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    return [
        _ratio(config, metrics, "ours", "sgd"),
        _ratio(config, metrics, "sample", "ours"),
        _absolute(config, metrics, "ours"),
        _absolute(config, metrics, "sgd"),
    ]


PARTS = ["noise", "latents", "pruning", "rest"]

TABLES: dict[str, tuple[str, list[str], Cells]] = {
    "step": (
        "One training step, noise, adaptation and 90 % pruning at each; parts in units of SGD. The "
        "normals are of `jax.random.normal`, or drawn as fast as we draw them.",
        ["over SGD", "over SGD and as many normals", "and normals as fast as ours", *PARTS, "ms"],
        _steps("sgd"),
    ),
    "sampler": (
        "The sampler alone, its gradient given, over one pass on its bytes and as many normals, of "
        "`jax.random.normal` or drawn as fast as we draw them.",
        [
            "over the floor",
            "with normals as fast as ours",
            *PARTS,
            "ms",
            "share of the pass's bandwidth",
            "GB/s, pass",
            "GB/s, ours",
        ],
        _sampler,
    ),
    "threshold": (
        "Pruning 90 % of the weights; zeros too many on normal weights, and on weights with ties.",
        ["sort over ours", "top-k over ours", "ours", "sort", "top-k", "ms"],
        _threshold,
    ),
    "blackjax": (
        "BlackJAX per gradient: its time over ours, SGLD and SGHMC on one posterior, and over "
        "SGHMC with adaptation and pruning; `by row` is BlackJAX's own estimator.",
        ["sgld", "sghmc", "sghmc over all parts", "sgld by row", "sghmc by row"],
        _ratios(
            ("blackjax_sgld", "aeb_sgld"),
            ("blackjax_sghmc", "aeb_sghmc"),
            ("blackjax_sghmc", "aeb_full"),
            ("blackjax_sgld_by_row", "aeb_sgld"),
            ("blackjax_sghmc_by_row", "aeb_sghmc"),
        ),
    ),
    "nuts": (
        "Seconds per effective sample (the least over coefficients) over those of numpyro's NUTS; "
        "distance of the means in posterior standard deviations, ratio of those deviations.",
        ["SGHMC", "its bias", "SGLD", "its bias", "ESS of NUTS"],
        _nuts,
    ),
    "torch": (
        "Over PyTorch, eager, same batch and cores; its sampler is our writing of Algorithm 1. We "
        "step in the loop of `aeb.sample`, or dispatch step by step. The last three are the "
        "convolutions of a step, each alone.",
        [
            *("over its sampler", "dispatched", "over its SGD", "SGD over its SGD"),
            *(kind.replace("_", " ") for kind in KINDS),
        ],
        _ratios(
            ("sample", "torch_sampler"),
            ("ours", "torch_sampler"),
            ("sample", "torch_sgd"),
            ("sgd", "torch_sgd"),
            *((kind, f"torch_{kind}") for kind in KINDS),
        ),
    ),
    "simulation": (
        "A step of the large-p-small-n simulation, and of as many data sets as the brackets say.",
        ["µs", "over two products", "many over one", "many over their products"],
        _simulation,
    ),
    "chains": (
        "Chains by vmap: a step of all of them over a step of one.",
        ["number: time"],
        _chains,
    ),
    "loop": (
        "The same steps by `aeb.sample` and in a plain scan, over dispatching them one by one.",
        ["`aeb.sample`", "scan"],
        _ratios(("sample", "dispatched"), ("scan", "dispatched")),
    ),
    "data": (
        "Images a second over those that a step consumes.",
        ["gather", "standardise and augment", "load from the cache"],
        _data,
    ),
    "compile": (
        "Compiling a step; memory as a multiple of the parameters' bytes, plain SGD's in brackets.",
        ["seconds", "over SGD", "traces in 5 calls", "peak", "state"],
        _compile,
    ),
    "epoch": (
        "An epoch on the device: bytes, shuffled, augmented, bf16, one dispatch.",
        ["over plain SGD", "`aeb.sample` over that", "ms", "ms, SGD"],
        _epoch,
    ),
}
"""Section to the line above its table, the heads, and what makes a line."""


def _brief(value: Spread) -> str:
    return f"{value.median:.3g} [{value.low:.3g}, {value.high:.3g}]"
