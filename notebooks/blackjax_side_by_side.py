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
# # BlackJAX side by side
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
#
# You use BlackJAX and wonder what changes with `aeb`. An `aeb` algorithm is a `blackjax.SamplingAlgorithm`, so it
# runs in the loops that you have. We sample one logistic regression in four ways, compare the results with the
# same tools, and see where the two libraries use the same word for different things. It takes half a minute.

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

import blackjax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from blackjax.util import run_inference_algorithm

import aeb

SMALL = os.environ.get("AEB_NOTEBOOKS") == "small"
NUM_STEPS = 4_000 if SMALL else 40_000
NUM_CHAINS = 4

# %% [markdown]
# ## One problem
#
# There are 500 rows and 20 columns. Five of the coefficients are 1 or -1, and the others are 0. The prior is a
# normal distribution with variance 1. BlackJAX needs the log density of *one* row and the log prior. `aeb` needs
# the loss of a Flax training loop, which is the mean negative log-likelihood over a minibatch, and a prior.

# %%
truth = np.zeros(20, np.float32)
truth[[0, 3, 7, 11, 15]] = [1.0, -1.0, 1.0, -1.0, 1.0]
rng = np.random.default_rng(0)
x = rng.normal(size=(500, 20)).astype(np.float32)
y = (rng.uniform(size=500) < 1 / (1 + np.exp(-x @ truth))).astype(np.float32)
data = {"x": jnp.asarray(x), "y": jnp.asarray(y)}


def log_likelihood(beta, row):
    """Log probability of one row."""
    score = row["x"] @ beta
    return row["y"] * score - jax.nn.softplus(score)


def log_prior(beta):
    """Log density of N(0, 1)."""
    return -0.5 * jnp.sum(beta**2)


def loss_fn(beta, batch):
    """Mean negative log-likelihood over a minibatch."""
    score = batch["x"] @ beta
    return jnp.mean(jax.nn.softplus(score) - batch["y"] * score)


# %% [markdown]
# ## The reference: NUTS on all rows
#
# At this size we can afford an exact sampler. It tells us what the others should find.


# %%
def log_posterior(beta):
    """Log density of the posterior, up to a constant."""
    return jnp.sum(jax.vmap(log_likelihood, (None, 0))(beta, data)) + log_prior(beta)


def run_nuts(key):
    """A thousand draws of NUTS."""
    nuts = blackjax.nuts(log_posterior, step_size=0.25, inverse_mass_matrix=jnp.full(20, 0.02))
    _, (states, _) = run_inference_algorithm(
        rng_key=key, inference_algorithm=nuts, num_steps=600, initial_position=jnp.zeros(20)
    )
    return states.position[100:]


draws = {"NUTS": jax.jit(jax.vmap(run_nuts))(jax.random.split(jax.random.key(0), NUM_CHAINS))}

# %% [markdown]
# ## SGLD, once by each library
#
# The step size means the same in both: $\beta' = \beta + \epsilon\, g + \sqrt{2\epsilon}\, \xi$, without the
# 1/2 of Welling and Teh. The libraries differ in who passes the minibatch.
#
# With BlackJAX you write the loop:

# %%
STEP, BATCH = 5e-4, 100
estimator = blackjax.sgmcmc.gradients.grad_estimator(log_prior, log_likelihood, len(y))
sgld = blackjax.sgld(estimator)


def run_blackjax(key):
    """Minibatches and steps by hand."""

    def step(beta, step_key):
        row_key, noise_key = jax.random.split(step_key)
        rows = jax.random.randint(row_key, (BATCH,), 0, len(y))
        batch = jax.tree.map(lambda leaf: leaf[rows], data)
        beta = sgld.step(noise_key, beta, batch, STEP)
        return beta, beta

    _, positions = jax.lax.scan(step, sgld.init(jnp.zeros(20)), jax.random.split(key, NUM_STEPS))
    return positions[NUM_STEPS // 4 :]


draws["blackjax.sgld"] = jax.jit(jax.vmap(run_blackjax))(
    jax.random.split(jax.random.key(1), NUM_CHAINS)
)

# %% [markdown]
# With `aeb`, `aeb.bind_data` binds the data to the sampler, and BlackJAX's own loop runs it:

# %%
algorithm = aeb.empirical_bayes(
    aeb.sgld(step_size=STEP),
    aeb.gaussian(precision=1.0),
    gain=0.0,  # the prior stays as it is
)
sampler = aeb.as_sampling_algorithm(algorithm, loss_fn, num_data=len(y))
bound = aeb.bind_data(sampler, data, batch_size=BATCH)


def run_ours(key, algorithm=bound):
    """The loop of BlackJAX, a sampler of aeb."""
    _, (states, _) = run_inference_algorithm(
        rng_key=key,
        inference_algorithm=algorithm,
        num_steps=NUM_STEPS,
        initial_position=jnp.zeros(20),
        transform=lambda state, info: (state.position, info.loss),
    )
    return states[NUM_STEPS // 4 :]


draws["aeb.sgld"] = jax.jit(jax.vmap(run_ours))(jax.random.split(jax.random.key(2), NUM_CHAINS))

# %% [markdown]
# ## Do they agree?
#
# We compare each sampler with NUTS. The *gap* is the largest difference between posterior means, in units of the
# posterior standard deviation. The *spread* is the mean ratio of the standard deviations. Effective sample size
# and R-hat are the worst over the 20 coefficients (`aeb.mixing`, which uses BlackJAX's estimators).

# %%
reference = draws["NUTS"]
means, spreads = reference.mean(axis=(0, 1)), reference.std(axis=(0, 1))
print(f"{'':16} {'gap':>5} {'spread':>7} {'ESS':>6} {'R-hat':>6}")
for name, sample in draws.items():
    gap = jnp.max(jnp.abs(sample.mean(axis=(0, 1)) - means) / spreads)
    ratio = jnp.mean(sample.std(axis=(0, 1)) / spreads)
    ess = aeb.mixing.effective_sample_size(sample).min()
    r_hat = aeb.mixing.potential_scale_reduction(sample).max()
    print(f"{name:16} {gap:5.2f} {ratio:7.3f} {ess:6.0f} {r_hat:6.3f}")

# %% [markdown]
# The two SGLDs are the same sampler. They agree as far as so few independent draws can tell: with 60 of them, a
# mean is off by about 0.13 standard deviations. Both are some 4 % wider than NUTS, because the step is not
# infinitely small and because a minibatch adds noise to the gradient. Both also need many steps for each
# independent draw. If you can use all rows in each step, NUTS is the better tool.
#
# ## What aeb adds: a prior that learns
#
# Fifteen of the true coefficients are 0, and a normal prior cannot say so. The spike-and-slab prior can. While it
# samples, it learns for each coefficient the probability `rho` that it belongs in the model. Only the two
# ingredients change; loop, data and loss stay the same.
#
# The upper panel below shows, for each column, the posterior median and the 90 % interval of its coefficient
# under both priors, and the true coefficient as a dash. The lower panel shows `rho`.

# %%
adaptive = aeb.empirical_bayes(
    aeb.sghmc(step_size=STEP / 4, friction=0.1),
    aeb.spike_slab(v0=0.05, v1=1.0),
    gain=aeb.robbins_monro(),
)
sampler = aeb.as_sampling_algorithm(adaptive, loss_fn, num_data=len(y))
bound = aeb.bind_data(sampler, data, batch_size=BATCH)
_, (positions, rho) = jax.jit(
    lambda key: run_inference_algorithm(
        rng_key=key,
        inference_algorithm=bound,
        num_steps=NUM_STEPS,
        initial_position=jnp.zeros(20),
        transform=lambda state, info: (state.position, state.latent.rho[""]),
    )
)(jax.random.key(3))
rho, positions = rho[-1], positions[NUM_STEPS // 4 :]

figure, axes = plt.subplots(2, 1, figsize=(6, 4), sharex=True)
place = np.arange(20)
for shift, (name, sample) in enumerate({"NUTS, normal prior": reference, "aeb": positions}.items()):
    flat = sample.reshape(-1, 20)
    low, middle, high = np.quantile(flat, [0.05, 0.5, 0.95], axis=0)
    bars = np.stack([middle - low, high - middle])
    axes[0].errorbar(place + 0.3 * shift - 0.15, middle, bars, fmt=".", label=name)
axes[0].plot(place, truth, "k_", markersize=12, label="truth")
axes[0].set_ylabel("coefficient")
axes[0].legend(fontsize=7)
axes[1].bar(place, rho, color="tab:orange")
axes[1].set(ylabel="inclusion, rho", xlabel="column", xticks=place, ylim=(0, 1))
figure.tight_layout()
plt.show()

for name, sample in {"NUTS, normal prior": reference, "aeb, spike-and-slab": positions}.items():
    estimate = np.asarray(sample.reshape(-1, 20).mean(axis=0))
    error = np.sqrt(np.mean((estimate - truth) ** 2))
    print(f"{name:20} error of the coefficients {error:.3f}")
print("columns with rho above 1/2:", np.flatnonzero(rho > 0.5).tolist())

# %% [markdown]
# The prior found the five columns that matter, and no others. Its estimates are nearer to the truth than those of
# the exact sampler, because this prior suits this truth. If there were many small coefficients instead of a few
# large ones, the normal prior would be the right one. The other coefficients have narrow intervals, because the
# spike holds them near zero.
#
# ## One word, two meanings
#
# | | BlackJAX | aeb |
# |---|---|---|
# | likelihood | log density of one row | mean loss over a minibatch, as in Flax |
# | prior | `logprior(position)`, fixed | a value that may learn; `gain=0.0` keeps it fixed |
# | `step_size` | for the sum over the data | the same; `learning_rate=` is for the mean loss: step size times rows |
# | `sghmc` | a few leapfrog steps per call, from a fresh momentum | one step per call; the momentum stays in the state |
# | state of `sgld` | the bare position | position, latent variables, loss, number of steps |
#
# **Where next**: [many chains, many devices](many_chains_many_devices.ipynb), or
# [write your own prior and sampler](own_prior_and_sampler.ipynb).
