# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown: the targets first, then a table a section."""

from collections.abc import Callable
from functools import partial

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.speed.clock import Race, Spread, ratio, spread
from benchmarks.speed.nets import PARTS
from benchmarks.speed.run import PRESETS
from benchmarks.speed.targets import TARGETS, Target, part_costs, seconds
from benchmarks.speed.torch_peer import KINDS

__all__ = ["PAGE", "blocks", "found", "picture_name", "report"]

Found = harness.Found[Race]

PAGE = ("step", "compile", "blackjax", "nuts", "torch", "loop", "chains", "shrunk")
"""Sections that docs/speed.md shows."""

GPU_NOT_RUN = "Not run: there is no row of a GPU."

Say = Callable[[harness.Row], str]
"""What a column says of a row."""

NOTE = """\
Contenders of a row are timed in turn, each warm and with its state used up by the step; a figure is
the median over rounds of the ratio within a round, with its quartiles in brackets. Ratios within a
row mean something, seconds of a shared CPU do not. For a miss the last column says what costs it,
in units of the denominator: for a step, what ours saves by leaving that part out (parts share
passes, so they need not add up), and as rest what is left without noise, latents and pruning. The
floor draws by `jax.random.normal`, as one would by hand; the tables below also have a stricter one.
PyTorch's sampler is our writing of Algorithm 1, not the authors' file."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    shown = found(preset, results)
    parts = ["## What a step costs", NOTE]
    if preset != "smoke":  # whose sizes no target speaks of
        parts.append(_targets({race: rows for of in shown.values() for race, rows in of.items()}))
    for name, rows in shown.items():
        there = harness.every_row(rows)
        where = "At the smallest size" if name == "smoke" else f"On a {name.upper()}"
        parts += [f"### {where}", f"`python -m benchmarks.speed --preset {name}`"]
        parts.append(markdown.made(there))
        if there:
            parts.append(f"![What a step costs, preset {name}](figures/{picture_name(name)})")
        parts += [_section(section, rows) for section in TABLES]
    return markdown.join(parts)


def blocks(results: harness.Results) -> dict[str, str]:
    """Make the tables of docs/speed.md by the names of their marks, of the rows of a CPU.

    The block `gpu` has the same tables of a GPU, as far as there are rows.
    """
    shown = found("paper", results)
    there = {name: harness.every_row(rows) for name, rows in shown.items()}
    run = {race: rows for race, rows in shown["gpu"].items() if rows}
    gpu = [markdown.made(there["gpu"]), *(_section(name, run) for name in PAGE)] if run else []
    texts = {
        "made": markdown.made(there["cpu"]) or markdown.NOT_RUN,
        "targets": _targets(shown["cpu"], backend="cpu"),
        "gpu": markdown.join(gpu).strip() if gpu else GPU_NOT_RUN,
        **{name: _table(name, shown["cpu"], without=("ms",)) for name in PAGE},
    }
    return {name: f"{text}\n" for name, text in texts.items()}


def found(preset: harness.Preset, results: harness.Results) -> dict[str, Found]:
    """Look up the rows of the presets of this script that one of the report's shows."""
    names = ("cpu", "gpu") if preset == "paper" else (preset,)
    return {name: harness.found(PRESETS[name], results) for name in names}


def picture_name(preset: str) -> str:
    return f"speed_{preset}.png"


def _targets(rows: Found, backend: str | None = None) -> str:
    """Compare the rows with what was asked for, on one backend or on all."""
    heads = ["target", "at most", "measured", "", "what costs it"]
    wanted = [each for each in TARGETS if backend in (None, each.where.get("backend"))]
    return markdown.table(heads, [_target(target, rows) for target in wanted])


def _target(target: Target, rows: Found) -> list[str]:
    line = [target.text, f"{target.limit:g} {target.unit}"]
    fitting = {race: there for race, there in rows.items() if target.fits(race.config)}
    if not any(fitting.values()):
        return [*line, markdown.NOT_RUN, "", ""]
    metrics = harness.every_row(fitting)[0]["metrics"]
    measured = target.measured(metrics)
    line.append(f"{_brief(measured)} {target.unit}")
    if measured.median <= target.limit:
        return [*line, "met", ""]
    over = measured.median / target.limit - 1.0
    return [*line, f"missed by {over:.0%}", target.blame(metrics) if target.blame else ""]


def _section(name: str, rows: Found) -> str:
    table = _table(name, rows)
    return f"{TABLES[name][0]}\n\n{table}" if table else ""


def _table(name: str, rows: Found, without: tuple[str, ...] = ()) -> str:
    columns = [(head, say) for head, say in TABLES[name][1] if head not in without]
    lines = {race: there for race, there in rows.items() if race.config["section"] == name}
    says = [(head, lambda rows, say=say: say(rows[0])) for head, say in columns]
    return markdown.by_cell(lines, [("", _lead)], says)


def _lead(race: Race) -> str:
    """Say which row of a section it is."""
    config = race.config
    if "size" in config:
        return f"{config['size']:,} weights"
    if config["section"] == "simulation":
        return f"{config['chains']} chains a data set"
    named = config.get("net", config.get("model", config["section"]))
    return f"{named}, batch {config['batch_size']}"


def _brief(value: Spread) -> str:
    return f"{value.median:.3g} [{value.low:.3g}, {value.high:.3g}]"


# ---- columns: what they say of a row ------------------------------------------------------------


def _ratio(top: str, bottom: str) -> Say:
    """The time of a contender over that of another, "-" where one is left out."""

    def say(row: harness.Row) -> str:
        times = row["metrics"]["seconds"]
        return _brief(ratio(times, top, bottom)) if {top, bottom} <= set(times) else "-"

    return say


def _on_gpu(say: Say) -> Say:
    """Only ratios mean something on a shared CPU."""
    return lambda row: say(row) if row["config"]["backend"] == "gpu" else "-"


def _milliseconds(name: str) -> Say:
    return _on_gpu(lambda row: _brief(seconds(row["metrics"], name, times=1e3)))


def _bandwidth(name: str) -> Say:
    return _on_gpu(lambda row: f"{row['metrics']['bytes'] / _median(row, name) / 1e9:.0f}")


def _median(row: harness.Row, name: str) -> float:
    return row["metrics"]["seconds"][name]["median"]


def _part(part: str, bottom: str, row: harness.Row) -> str:
    """What a part of ours costs."""
    costs = part_costs(row["metrics"], bottom)
    return f"{costs[part].median:+.2f}" if costs else "-"


def _parts(bottom: str) -> list[tuple[str, Say]]:
    return [(part, partial(_part, part, bottom)) for part in (*PARTS, "rest")]


def _exact(name: str, row: harness.Row) -> str:
    """Zeros too many on normal and on tied weights."""
    metrics = row["metrics"]
    found = [metrics["exact"][kind][name] for kind in ("normal", "tied")]
    off = ", ".join(f"{each['zeros'] - metrics['zeros']:+d}" for each in found)
    return off + ("" if all(each["same"] for each in found) else ", other weights")


def _per_draw(name: str, row: harness.Row) -> str:
    """Seconds per effective sample over those of NUTS."""
    metrics = row["metrics"]
    draws = [metrics["samplers"][of]["least_ess"] for of in (name, "nuts")]
    rounds = [metrics["seconds"][of]["rounds"] for of in (name, "nuts")]
    return _brief(spread([a / draws[0] / (b / draws[1]) for a, b in zip(*rounds, strict=True)]))


def _bias(name: str, row: harness.Row) -> str:
    sampler = row["metrics"]["samplers"][name]
    return f"{sampler['mean_error']:.2f}, {sampler['sd_ratio']:.2f}"


def _sets(top: str, bottom: str, row: harness.Row) -> str:
    """A ratio of the simulation, whose contenders end in a number of data sets."""
    counts = row["config"]["data_sets"]
    names = (name.format(few=min(counts), many=max(counts)) for name in (top, bottom))
    return _ratio(*names)(row)


def _few(row: harness.Row) -> str:
    """Microseconds of a step of the fewest data sets."""
    name = f"step_{min(row['config']['data_sets'])}"
    return _brief(seconds(row["metrics"], name, times=1e6))


def _many(row: harness.Row) -> str:
    return f"{_sets('step_{many}', 'step_{few}', row)} ({max(row['config']['data_sets'])})"


def _chains(row: harness.Row) -> str:
    counts = row["config"]["counts"]
    one = str(min(counts))
    return "; ".join(f"{count}: {_ratio(str(count), one)(row)}" for count in counts)


def _load(row: harness.Row) -> str:
    # Loading happens once, before the steps, and is timed apart from them.
    return f"{_median(row, 'step') / _median(row, 'load'):.3g}"


def _weights(row: harness.Row) -> str:
    weights = row["metrics"]["weights"]
    return f"{weights['dense']:,} to {weights['shrunk']:,}"


def _over_parameters(name: str, digits: int, row: harness.Row) -> str:
    """Memory of ours, plain SGD's in brackets."""
    steps = row["metrics"]["steps"]
    ours, sgd = (steps[of][f"{name}_over_parameters"] for of in ("ours", "sgd"))
    return f"{ours:.{digits}f} ({sgd:.{digits}f})"


TABLES: dict[str, tuple[str, list[tuple[str, Say]]]] = {
    "step": (
        "One training step with noise, adaptation and pruning to 90 %. The columns from noise to "
        "rest have the parts of its time, in units of an SGD step. The random normals are those of "
        "`jax.random.normal`, or of our faster generator.",
        [
            ("over SGD", _ratio("ours", "sgd")),
            ("over SGD and as many normals", _ratio("ours", "floor")),
            ("and normals as fast as ours", _ratio("ours", "strict_floor")),
            *_parts("sgd"),
            ("ms", _milliseconds("ours")),
        ],
    ),
    "sampler": (
        "The sampler alone, its gradient given, over one pass on its bytes and as many normals, of "
        "`jax.random.normal` or drawn as fast as we draw them.",
        [
            ("over the floor", _ratio("ours", "floor")),
            ("with normals as fast as ours", _ratio("ours", "strict_floor")),
            *_parts("floor"),
            ("ms", _milliseconds("ours")),
            ("share of the pass's bandwidth", _ratio("pass", "ours")),
            ("GB/s, pass", _bandwidth("pass")),
            ("GB/s, ours", _bandwidth("ours")),
        ],
    ),
    "threshold": (
        "Pruning 90 % of the weights; zeros too many on normal weights, and on weights with ties.",
        [
            ("sort over ours", _ratio("sort", "ours")),
            ("top-k over ours", _ratio("top_k", "ours")),
            ("ours", partial(_exact, "ours")),
            ("sort", partial(_exact, "sort")),
            ("top-k", partial(_exact, "top_k")),
            ("ms", _milliseconds("ours")),
        ],
    ),
    "blackjax": (
        "BlackJAX per gradient: its time over ours, SGLD and SGHMC on one posterior, and over "
        "SGHMC with adaptation and pruning; `by row` is BlackJAX's own estimator.",
        [
            ("sgld", _ratio("blackjax_sgld", "aeb_sgld")),
            ("sghmc", _ratio("blackjax_sghmc", "aeb_sghmc")),
            ("sghmc over all parts", _ratio("blackjax_sghmc", "aeb_full")),
            ("sgld by row", _ratio("blackjax_sgld_by_row", "aeb_sgld")),
            ("sghmc by row", _ratio("blackjax_sghmc_by_row", "aeb_sghmc")),
        ],
    ),
    "nuts": (
        "Seconds per effective sample (the least over coefficients) over those of numpyro's NUTS; "
        "distance of the means in posterior standard deviations, ratio of those deviations.",
        [
            ("SGHMC", partial(_per_draw, "aeb_sghmc")),
            ("its bias", partial(_bias, "aeb_sghmc")),
            ("SGLD", partial(_per_draw, "aeb_sgld")),
            ("its bias", partial(_bias, "aeb_sgld")),
            ("ESS of NUTS", lambda row: f"{row['metrics']['samplers']['nuts']['least_ess']:.0f}"),
        ],
    ),
    "torch": (
        "Over PyTorch, eager, same batch and cores; its sampler is our writing of Algorithm 1. We "
        "step in the loop of `aeb.sample`, or dispatch step by step. The last three are the "
        "convolutions of a step, each alone.",
        [
            ("over its sampler", _ratio("sample", "torch_sampler")),
            ("dispatched", _ratio("ours", "torch_sampler")),
            ("over its SGD", _ratio("sample", "torch_sgd")),
            ("SGD over its SGD", _ratio("sgd", "torch_sgd")),
            *((kind.replace("_", " "), _ratio(kind, f"torch_{kind}")) for kind in KINDS),
        ],
    ),
    "simulation": (
        "A step of the large-p-small-n simulation, and of as many data sets as the brackets say.",
        [
            ("µs", _few),
            ("over two products", partial(_sets, "step_{few}", "products_{few}")),
            ("many over one", _many),
            ("many over their products", partial(_sets, "step_{many}", "products_{many}")),
        ],
    ),
    "chains": (
        "Chains by vmap: a step of all of them over a step of one.",
        [("number: time", _chains)],
    ),
    "loop": (
        "The same steps by `aeb.sample` and in a plain scan, over dispatching them one by one.",
        [
            ("`aeb.sample`", _ratio("sample", "dispatched")),
            ("scan", _ratio("scan", "dispatched")),
        ],
    ),
    "data": (
        "Images a second over those that a step consumes.",
        [
            ("gather", _ratio("step", "gather")),
            ("standardise and augment", _ratio("step", "augment")),
            ("load from the cache", _load),
        ],
    ),
    "compile": (
        "Compiling a step; memory as a multiple of the parameters' bytes, plain SGD's in brackets.",
        [
            ("seconds", lambda row: _brief(seconds(row["metrics"], "ours"))),
            ("over SGD", _ratio("ours", "sgd")),
            ("traces in 5 calls", lambda row: f"{row['metrics']['steps']['ours']['traces']}"),
            ("peak", partial(_over_parameters, "peak", 1)),
            ("state", partial(_over_parameters, "state", 2)),
        ],
    ),
    "shrunk": (
        "A forward pass with three quarters of the units at zero, and with these taken out by "
        "`aeb.shrink`, over that of the network as it was.",
        [
            ("zeros", _ratio("zeros", "dense")),
            ("shrunk", _ratio("shrunk", "dense")),
            ("weights", _weights),
        ],
    ),
    "epoch": (
        "An epoch on the device: bytes, shuffled, augmented, bf16, one dispatch.",
        [
            ("over plain SGD", _ratio("ours", "sgd")),
            ("`aeb.sample` over that", _ratio("sample", "ours")),
            ("ms", _milliseconds("ours")),
            ("ms, SGD", _milliseconds("sgd")),
        ],
    ),
}
"""Section to the line above its table, and its columns."""
