# SPDX-License-Identifier: Apache-2.0
"""What a step is meant to cost, and what the rows say it costs."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.speed.clock import Spread, ratio, spread
from benchmarks.speed.nets import PARTS
from benchmarks.speed.torch_peer import KINDS

Metrics = Mapping[str, Any]


class Target(NamedTuple):
    """One thing that is asked for.

    Attributes:
        text: what is divided by what, or which figure.
        where: what the configuration of its row holds, section and backend included.
        measured: reads it off the metrics of that row.
        limit: the most that it may be.
        unit: "x" for a ratio.
        blame: tells, of the same metrics, which part costs what.
    """

    text: str
    where: dict[str, Any]
    measured: Callable[[Metrics], Spread]
    limit: float
    unit: str = "x"
    blame: Callable[[Metrics], str] | None = None

    def fits(self, config: Mapping[str, Any]) -> bool:
        """Return whether a configuration is that of its row."""
        return all(config.get(name) == value for name, value in self.where.items())


def part_costs(metrics: Metrics, bottom: str, top: str = "ours") -> dict[str, Spread]:
    """Compute what each part of a contender costs, in units of another contender of the row.

    A part is what the contender loses by leaving it out; `rest` is what is left without any of the
    parts, less the other. They need not add up: parts share passes over the weights.
    """
    times = metrics["seconds"]
    if "bare" not in times:
        return {}

    def cost(more: str, less: str) -> Spread:
        rounds = (times[name]["rounds"] for name in (more, less, bottom))
        return spread([(a - b) / c for a, b, c in zip(*rounds, strict=True)])

    left_out = [part for part in PARTS if f"no_{part}" in times]
    return {part: cost(top, f"no_{part}") for part in left_out} | {"rest": cost("bare", bottom)}


def seconds(metrics: Metrics, name: str, *, times: float = 1.0) -> Spread:
    """Take the seconds of a contender, in a unit of which a second has so many."""
    return spread([times * value for value in metrics["seconds"][name]["rounds"]])


def _ratio(top: str, bottom: str) -> Callable[[Metrics], Spread]:
    return lambda metrics: ratio(metrics["seconds"], top, bottom)


def _state(metrics: Metrics) -> Spread:
    return spread([metrics["steps"]["ours"]["state_over_parameters"]])


def _parts(bottom: str, metrics: Metrics, top: str = "ours") -> str:
    costs = part_costs(metrics, bottom, top)
    ordered = sorted(costs, key=lambda part: -costs[part].median)
    return ", ".join(f"{part} {costs[part].median:+.2f}" for part in ordered)


def _beside(text: str, top: str, bottom: str) -> Callable[[Metrics], str]:
    return lambda metrics: f"{text} {ratio(metrics['seconds'], top, bottom).median:.2f} x"


def _convolutions(metrics: Metrics) -> str:
    times = metrics["seconds"]
    rounds = [times[name]["rounds"] for name in (*KINDS, "torch_sgd")]
    share = spread([sum(kinds) / step for *kinds, step in zip(*rounds, strict=True)])
    whole = _beside("plain SGD in XLA over PyTorch's", "sgd", "torch_sgd")(metrics)
    return f"{whole}; XLA's convolutions alone over PyTorch's step {share.median:.2f} x"


def _further(metrics: Metrics) -> str:
    times = metrics["seconds"]
    rounds = zip(*(times[count]["rounds"] for count in ("32", "16", "1")), strict=True)
    costs = spread([(more - less) / 16 / one for more, less, one in rounds])
    return f"each of 16 further chains {costs.median:.2f} of one"


def _ratios(words: str, on: str, top: str, bottom: str, limit: float, **where: Any) -> Target:
    """Ask for a ratio of two contenders on a backend; the parts of `top` are to blame."""
    blame = functools.partial(_parts, bottom, top=top)
    where = {**where, "backend": on}
    return Target(f"{words}, {on}", where, _ratio(top, bottom), limit, blame=blame)


def _targets() -> Iterator[Target]:
    """List the targets, in the order of their table."""
    both, nets = ("cpu", "gpu"), ("mnist_cnn", "resnet20", "mlp10m")
    for net, on in (("mnist_cnn", "cpu"), ("resnet20", "cpu"), ("resnet20", "gpu")):
        words = f"training step over plain SGD, {net}"
        yield _ratios(words, on, "ours", "sgd", 1.10, section="step", net=net)
    for on, net in itertools.product(both, nets):
        words = f"training step over SGD and as many normals, {net}"
        yield _ratios(words, on, "ours", "floor", 1.05, section="step", net=net)
    for on in both:
        words = "sampler alone over its floor, 10,000,000 weights"
        yield _ratios(words, on, "ours", "floor", 1.5, section="sampler", size=10_000_000)
    for model, (sampler, ours, theirs) in itertools.product(
        ("logistic", "network"),
        (
            ("sgld", "aeb_sgld", "blackjax_sgld"),
            ("sghmc", "aeb_sghmc", "blackjax_sghmc"),
            ("sghmc with adaptation and pruning", "aeb_full", "blackjax_sghmc"),
        ),
    ):
        words = f"{sampler} over BlackJAX's, per gradient, {model}"
        target = _ratios(words, "cpu", ours, theirs, 1.0, section="blackjax", model=model)
        yield target if ours == "aeb_full" else target._replace(blame=None)
    for net in ("mnist_cnn", "resnet20"):
        words = f"step of `aeb.sample` over PyTorch's with the sampler, {net}"
        target = _ratios(words, "cpu", "sample", "torch_sampler", 1.0, section="torch", net=net)
        yield target._replace(blame=_convolutions)
    simulation = {"section": "simulation", "chains": 1, "data_sets": (1, 50)}
    words = "step of the simulation, one data set"
    yield _ratios(words, "cpu", "step_1", "products_1", 25.0, **simulation)._replace(
        measured=functools.partial(seconds, name="step_1", times=1e6),
        unit="µs",
        blame=_beside("over its two products", "step_1", "products_1"),
    )
    words = "step of the simulation, 50 data sets over one"
    yield _ratios(words, "cpu", "step_50", "step_1", 30.0, **simulation)._replace(
        blame=_beside("the two products alone", "products_50", "products_1")
    )
    for on in both:
        target = _ratios("16 chains over one", on, "16", "1", 8.0, section="chains")
        yield target._replace(blame=_further)
    for on, loops in (("cpu", ("mlp", "mnist_cnn", "resnet20")), ("gpu", ("mlp", "mnist_cnn"))):
        for net in loops:
            words = f"`aeb.sample` over dispatching, {net}"
            target = _ratios(words, on, "sample", "dispatched", 1.0, section="loop", net=net)
            yield target._replace(blame=_beside("a plain scan", "scan", "dispatched"))
    for net in nets:
        words = f"bytes of the state over those of the parameters, {net}"
        yield Target(words, {"section": "compile", "net": net, "backend": "cpu"}, _state, 5.0)
    epoch = {"section": "epoch", "net": "resnet20", "batch_size": 1000}
    words = "1,000 epochs of ResNet20 at batch 1,000"
    yield _ratios(words, "gpu", "ours", "sgd", 600.0, **epoch)._replace(
        measured=functools.partial(seconds, name="ours", times=1000.0),
        unit="s",
        blame=_beside("over plain SGD in the same loop", "ours", "sgd"),
    )


TARGETS = tuple(_targets())
