# ---
# jupyter:
#   accelerator: GPU
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Many chains, many devices
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
#
# You want to know whether you can trust a chain, or you have several devices. We run eight chains side by side,
# read R-hat and effective sample sizes, and see what averaging over chains is worth. Then we spread first many
# chains and then a single one over several devices. If there is only one CPU, JAX pretends that it is eight
# devices, so you can try all of this on a laptop. It takes half a minute.

# %%
# Colab has no aeb: install it, and the JAX that uses the GPU. Where aeb is there, this does nothing.
# In a clone it installs that. Elsewhere write in SOURCE where aeb comes from.
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = None  # "git+" and the repository's address; nobody has released "aeb" on PyPI yet

if importlib.util.find_spec("aeb") is None:
    source = ".." if Path("../aeb/version.py").exists() else SOURCE
    if source is None:
        raise RuntimeError("SOURCE: write there where aeb comes from, as the line above says")
    packages = [source]
    packages += ["jax[cuda12]"] if shutil.which("nvidia-smi") else []
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *packages], check=True)
    print("Restart the session (in Colab: Runtime, Restart session), and begin again from the top.")

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

# Eight devices out of one CPU; a GPU stays what it is. It has to come before JAX is first used.
jax.config.update("jax_num_cpu_devices", 8)

import aeb
from aeb.models import MLP, make_loss

SMALL = os.environ.get("AEB_NOTEBOOKS") == "small"
NUM_CHAINS = 8
NUM_STEPS = 4_000 if SMALL else 40_000

devices = jax.devices()
print(f"{len(devices)} device(s) of kind {devices[0].platform}")

# %% [markdown]
# ## A problem
#
# A network with one hidden layer learns a curve from 60 noisy points. There are no points in the middle, so a
# good answer is unsure there.

# %%
rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(-2, -0.7, 30), rng.uniform(0.5, 2, 30)])
y = np.sin(2.5 * x) + 0.1 * rng.normal(size=60)
data = {"features": jnp.asarray(x[:, None], jnp.float32), "target": jnp.asarray(y, jnp.float32)}

net = MLP(hidden=(30,))
loss_fn = make_loss(net, likelihood="gaussian")
algorithm = aeb.empirical_bayes(
    aeb.sghmc(learning_rate=1e-2, friction=0.1),
    aeb.gaussian(precision=1.0, sigma=0.3, lam=0.01),
    gain=aeb.robbins_monro(),
    likelihood="gaussian",  # the noise of the points is learned too
)
kernel = aeb.build_kernel(algorithm, loss_fn, num_data=60)

# %% [markdown]
# ## Many chains on one device
#
# `jax.vmap(algorithm.init)` makes the states, each with its own start. `aeb.chains` makes a kernel that moves all
# of them. `aeb.sample` runs them like a single chain. In what it collects, the first axis is chains and the second
# is draws.


# %%
def start(key):
    """Initial weights of one chain."""
    return net.init(key, data["features"][:1])["params"]


params = jax.vmap(start)(jax.random.split(jax.random.key(0), NUM_CHAINS))
states = jax.vmap(algorithm.init)(params)
states, draws = aeb.sample(
    aeb.chains(kernel),
    states,
    data,
    jax.random.key(1),
    num_steps=NUM_STEPS,
    warmup=NUM_STEPS // 4,
    batch_size=None,  # all 60 points in each step
    collect=lambda s: {"params": s.position, "sigma": s.latent.sigma},
    every=20,
    progress=False,
)
print("draws of a layer:", draws["params"]["fc1"]["kernel"].shape)
print("noise found by each chain:", *(f"{value:.2f}" for value in draws["sigma"][:, -1]))

# %% [markdown]
# ## Have they mixed?
#
# R-hat compares the spread of all chains with the spread within each; 1 means that they agree. Look at what you
# will use: the predictions. The weights themselves tell you little, because two networks whose hidden units are
# swapped make the same predictions.
#
# The figure shows y over x: the points, the true curve (dashed), and the median and the 90 % band of the network's
# predictions. On the left they come from one chain, on the right from all eight.

# %%
grid = jnp.linspace(-2.5, 2.5, 101)[:, None]


def predict_all(params):
    """Predictions of every draw of every chain on the grid."""

    def one(params):
        return net.apply({"params": params}, grid)[:, 0]

    return jax.jit(jax.vmap(jax.vmap(one)))(params)


curves = predict_all(draws["params"])  # [chains, draws, grid]
r_hat = aeb.mixing.potential_scale_reduction(curves)
ess = aeb.mixing.effective_sample_size(curves)
for place in (-1.5, 0.0, 1.5):
    i = int(jnp.argmin(jnp.abs(grid[:, 0] - place)))
    print(
        f"f({place:+.1f})   R-hat {r_hat[i]:.2f}, ESS {ess[i]:.0f} of {curves[..., 0].size} draws"
    )
weight = draws["params"]["fc1"]["kernel"][..., 0, 0]
print(f"a weight  R-hat {aeb.mixing.potential_scale_reduction(weight):.2f}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.5, 2.8), sharey=True)
flat = curves.reshape(-1, len(grid))
for axis, band, title in (
    (axes[0], curves[0], "one chain"),
    (axes[1], flat, f"{NUM_CHAINS} chains"),
):
    low, middle, high = np.quantile(band, [0.05, 0.5, 0.95], axis=0)
    axis.fill_between(grid[:, 0], low, high, alpha=0.3)
    axis.plot(grid[:, 0], middle)
    axis.plot(grid[:, 0], np.sin(2.5 * grid[:, 0]), "k--", linewidth=1)
    axis.plot(x, y, "k.", markersize=3)
    axis.set(title=title, xlabel="x", ylim=(-2.5, 2.5))
axes[0].set_ylabel("y")
figure.tight_layout()
plt.show()

# %% [markdown]
# The chains agree on the predictions. As expected, they do not agree on a single weight. One chain gives the same
# band as eight, so the other chains did not improve the band. We needed them to know that it can be trusted.
#
# The band is wider in the gap between the two groups of points, and wider still outside. Yet it misses the curve
# beyond the last points, where every network of this kind continues in straight lines. An average cannot show
# what none of its networks can do.
#
# Stochastic approximation learns the noise: each chain has *one* value that settles, not draws, so there is no
# R-hat for it. All chains put the noise too high (the truth is 0.1). One reason is that the residuals of a sampled
# network also contain the spread of its weights.
#
# ## Many chains on many devices
#
# With a mesh, `aeb.chains` gives each device its own chains. Keys and numbers stay the same, so the result is that
# of one device.

# %%
auto = (jax.sharding.AxisType.Auto,)
mesh = jax.make_mesh((len(devices),), ("chain",), axis_types=auto)
per_device = max(1, NUM_CHAINS // len(devices))
params = jax.vmap(start)(jax.random.split(jax.random.key(0), per_device * len(devices)))


def last_position(kernel):
    """Where the chains are after 100 steps."""
    states, _ = aeb.sample(
        kernel,
        jax.vmap(algorithm.init)(params),
        data,
        jax.random.key(1),
        num_steps=100,
        batch_size=None,
        progress=False,
    )
    return states.position


spread = last_position(aeb.chains(kernel, mesh=mesh))
together = last_position(aeb.chains(kernel))
gap = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), spread, together)
print("a layer's weights lie on:", len(spread["fc1"]["kernel"].sharding.device_set), "device(s)")
print(f"largest difference from one device: {max(jax.tree.leaves(gap)):.0e}")

# %% [markdown]
# ## One chain on many devices
#
# `aeb.data_parallel` splits the rows of each batch. The noise of a weight depends on the key and on the place of
# the weight, not on the device. So the chain is again the same, up to the order in which numbers are added. (If a
# model does not fit on one device, use `aeb.sharded`, which splits the weights too.)

# %%
mesh = jax.make_mesh((len(devices),), ("data",), axis_types=auto)
rows = 60 - 60 % len(devices)  # a multiple of the devices
batch = jax.tree.map(lambda leaf: leaf[:rows], data)
one, many = (algorithm.init(start(jax.random.key(0))) for _ in range(2))
step_one, step_many = jax.jit(kernel), aeb.data_parallel(kernel, mesh)
for key in jax.random.split(jax.random.key(2), 100):
    one, many = step_one(one, batch, key), step_many(many, batch, key)
    jax.block_until_ready(many)  # devices that share a CPU may wait for each other for ever
gap = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), one.position, many.position)
print(f"largest difference after 100 steps: {max(jax.tree.leaves(gap)):.0e}")

# %% [markdown]
# Eight pretended devices on one CPU are no faster than one. This only shows that the code runs, and that the
# results agree. For measurements on real devices, commands for several hosts, checkpoints, and a plan for 512
# devices, see [docs/scaling.md](../docs/scaling.md).
#
# **Where next**: [how sure is my network?](how_sure.ipynb)
