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
# For whoever wants several chains to know whether one can be trusted, or has several devices. We run eight
# chains side by side, read R-hat and effective sample sizes, and see what averaging over chains is worth; then
# we spread one chain, and many, over a mesh of devices. Where there is a single CPU we let JAX
# pretend that it is eight devices, so that you can try it all on a laptop. It takes half a minute.

# %%
# A machine without aeb, such as Colab: set SOURCE to a clone of the repository, or to "git+" and its
# address, and run this cell once. Elsewhere it does nothing.
import importlib.util
import subprocess
import sys

SOURCE = ".."
if importlib.util.find_spec("aeb") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", SOURCE], check=True)

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
# A network with one hidden layer learns a curve from 60 noisy points. There are none in the middle, so a good
# answer is unsure there.

# %%
rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(-2, -0.7, 30), rng.uniform(0.5, 2, 30)])
y = np.sin(2.5 * x) + 0.1 * rng.normal(size=60)
data = {"features": jnp.asarray(x[:, None], jnp.float32), "target": jnp.asarray(y, jnp.float32)}

net = MLP(hidden=(30,))
loss_fn = make_loss(net, likelihood="gaussian")
algorithm = aeb.empirical_bayes(
    aeb.sghmc(learning_rate=1e-3, friction=0.05),
    aeb.gaussian(precision=1.0, sigma=0.3),
    gain=aeb.robbins_monro(),
    likelihood="gaussian",  # the noise of the points is learned too
)
kernel = aeb.build_kernel(algorithm, loss_fn, num_data=60)

# %% [markdown]
# ## Many chains on one device
#
# `jax.vmap(algorithm.init)` makes the states, from starts of their own; `aeb.chains` makes a kernel that moves
# them all. `aeb.sample` does not mind. What it gathers leads with chains, then draws.


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
    batch_size=30,
    collect=lambda s: {"params": s.position, "sigma": s.latent.sigma},
    every=20,
    progress=False,
)
print("sigma:", draws["sigma"].shape, "chains, draws")
