# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of `docs/guides/choosing.md`, one a setting.

    python -m benchmarks.choosing docs/figures

    v0, v1        rho against the size of a weight, over a made-up layer: nine weights in ten small
    temperature   a network of one hidden layer fitted to 24 points with a gap, at T = 0, 0.1, 1
    gain          a latent on its way to a noisy target
    ramp          zeros by step

They show what a setting does and measure nothing. Each is made by the library itself, from fixed
keys, in seconds.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb.priors.spike_slab import inclusion_probability
from aeb.stochastic_approximation import approximate
from aeb.types import ArrayTree
from benchmarks.harness import figures

__all__ = ["PICTURES", "main"]

SIZE = (6.4, 4.0)

FONTS = {"font.size": 12.5, "legend.fontsize": 11.0, "axes.titlesize": 12.5}

SHADES = ("#9ecae1", "#3182bd", "#08306b")

SMALL, LARGE = 0.01, 0.3
"""Scales of the weights of the made-up layer."""

STEPS = 1_000


def _rho(axes: Any, name: str, values: Sequence[float], others: dict[str, float]) -> None:
    """Draw rho at some values of a setting over the histogram of the layer."""
    small, large = jax.random.split(jax.random.key(0))
    weights = np.concatenate(
        [
            SMALL * np.abs(jax.random.normal(small, (9_000,))),
            LARGE * np.abs(jax.random.normal(large, (1_000,))),
        ]
    )
    bins = np.geomspace(1e-3, 1.0, 40)
    counts, _ = np.histogram(weights, bins)
    bars = {"align": "edge", "color": "0.88", "label": "weights of a layer"}
    axes.bar(bins[:-1], counts / counts.max(), np.diff(bins), **bars)
    axes.set(xscale="log", xlabel="size of a weight, |w|", ylabel="rho", xlim=(1e-3, 1.0))
    sizes, sigma, delta = np.geomspace(1e-3, 1.0, 400), jnp.array(1.0), jnp.array(0.1)
    for value, shade in zip(values, SHADES, strict=True):
        rho = inclusion_probability(jnp.asarray(sizes), sigma, delta, **{name: value}, **others)
        axes.plot(sizes, rho, color=shade, linewidth=2, label=f"{name} = {value:g}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _network(params: ArrayTree, x: jax.Array) -> jax.Array:
    first, bias, second = params["first"], params["bias"], params["second"]
    return jnp.tanh(jnp.outer(x, first) + bias[None]) @ second


def _temperature(panels: Any) -> None:
    places, noise, start, chain = jax.random.split(jax.random.key(1), 4)
    x = jax.random.uniform(places, (24,), minval=0.5, maxval=2.0) * jnp.where(
        jnp.arange(24) < 12, -1.0, 1.0
    )
    y = jnp.sin(2 * x) + 0.15 * jax.random.normal(noise, x.shape)
    keys = dict(zip(("first", "bias", "second"), jax.random.split(start, 3), strict=True))
    params = {name: 0.5 * jax.random.normal(key, (32,)) for name, key in keys.items()}

    def loss_fn(params: ArrayTree, batch: Any) -> jax.Array:
        return 0.5 * jnp.mean(jnp.square((_network(params, batch["x"]) - batch["y"]) / 0.15))

    grid = jnp.linspace(-3, 3, 200)
    for axes, temperature in zip(panels, (0.0, 0.1, 1.0), strict=True):
        algorithm = aeb.empirical_bayes(
            aeb.sghmc(learning_rate=2e-4, temperature=temperature), aeb.gaussian(), gain=0.0
        )
        _, draws = aeb.sample(
            aeb.build_kernel(algorithm, loss_fn, num_data=len(x)),
            algorithm.init(params),
            {"x": x, "y": y},
            chain,
            num_steps=40_000,
            warmup=20_000,
            batch_size=len(x),
            collect=lambda state: state.position,
            every=500,
            progress=False,
        )
        curves = np.asarray(jax.vmap(_network, in_axes=(0, None))(draws, grid))
        axes.plot(grid, curves.T, color=SHADES[0], linewidth=0.8)
        axes.plot(grid, curves.mean(axis=0), color=SHADES[2], linewidth=2)
        axes.plot(x, y, "k.", markersize=5)
        axes.set(title=f"T = {temperature:g}", xlabel="x", ylim=(-3, 3), xticks=[-2, 0, 2])
    panels[0].set_ylabel("y")


def _gain(axes: Any) -> None:
    targets = 0.9 + 0.15 * jax.random.normal(jax.random.key(2), (STEPS,))
    slow = aeb.robbins_monro(0.02, 1_000.0, 0.75)
    scale = 0.75 / sum(float(slow(step)) for step in range(STEPS))
    gains: dict[str, Callable[[int], Any]] = {
        "1.0 (EM)": lambda step: 1.0,
        "robbins_monro()": aeb.robbins_monro(),
        "a gain that sums to 0.75": lambda step: scale * slow(step),
        "0.0 (fixed)": lambda step: 0.0,
    }
    for (label, gain), shade in zip(gains.items(), ("0.8", SHADES[2], SHADES[1], "k"), strict=True):
        omegas = jnp.array([gain(step) for step in range(STEPS)])

        def move(latent: Any, given: Any) -> Any:
            moved = approximate(latent, *given)
            return moved, moved

        _, path = jax.lax.scan(move, jnp.array(0.5), (targets, omegas))
        axes.plot(path, color=shade, linewidth=1 if shade == "0.8" else 2, label=label)
    axes.set(xlabel="step", ylabel="a latent", ylim=(0.3, 1.3), xlim=(0, STEPS))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _ramp(axes: Any) -> None:
    steps = np.arange(STEPS + 1)
    ramps = {
        f"sparsity_ramp(0.9, num_steps={STEPS})": aeb.sparsity_ramp(0.9, num_steps=STEPS),
        "exponential_ramp(0.9, decay=0.99, every=5)": aeb.exponential_ramp(0.9, every=5),
        "exponential_ramp(0.9)": aeb.exponential_ramp(0.9),
    }
    for (label, ramp), shade in zip(ramps.items(), reversed(SHADES), strict=True):
        zeros = [100 * float(ramp(step)) for step in steps]
        axes.plot(steps, zeros, color=shade, linewidth=2, label=label)
    axes.axhline(90, color="0.5", linestyle=":", linewidth=1)
    axes.set(xlabel="step", ylabel="zeros, %", xlim=(0, STEPS), ylim=(0, 100))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


PICTURES: dict[str, tuple[Callable[[Any], None], int]] = {
    "v0": (partial(_rho, name="v0", values=(0.001, 0.01, 0.1), others={"v1": LARGE**2}), 1),
    "v1": (partial(_rho, name="v1", values=(0.001, 0.1, 10.0), others={"v0": SMALL}), 1),
    "temperature": (_temperature, 3),
    "gain": (_gain, 1),
    "ramp": (_ramp, 1),
}
"""Setting to what draws its picture, and panels."""


def main(args: Sequence[str] | None = None) -> int:
    """Draw all pictures into the folder that is given."""
    (folder,) = sys.argv[1:] if args is None else args
    for name, (draw, panels) in PICTURES.items():
        file = Path(folder) / f"choosing_{name}.png"
        with figures.page(file, SIZE, 1, panels, fonts=FONTS, sharey=True) as (_, axes):
            draw(axes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
