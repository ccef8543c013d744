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
# # Write your own prior and your own sampler
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
#
# You have an idea of your own and want to try it on a network. In `aeb` a sampler is two functions and a prior is
# three; there is no class to inherit from. We write one of each in a dozen lines, check both against a known
# answer, and let them train a network together. It takes half a minute.

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

import aeb
from aeb.dynamics.noise import noise_like
from aeb.models import MLP, make_loss

SMALL = os.environ.get("AEB_NOTEBOOKS") == "small"
NUM_CHAINS = 10_000 if SMALL else 100_000
NUM_STEPS = 500
LENGTH = 1_000 if SMALL else 10_000

# %% [markdown]
# ## A sampler
#
# We take *preconditioned* Langevin dynamics (Li et al., AAAI 2016). Each weight has its own step size, which is
# smaller if its gradients have been large. With $V$ the running mean of the squared gradient,
#
# $$ G = 1 / (\sqrt{V} + \lambda), \qquad
#    \beta' = \beta + \epsilon\, G\, g + \sqrt{2 \epsilon\, T\, G}\, \xi . $$
#
# `init` makes what the sampler carries from step to step (here $V$). `update` takes one step. It gets the gradient
# of the log posterior summed over the data, a key, and the step size and temperature of this step as plain
# numbers. The sampler need not know whether these come from a constant or a schedule.


# %%
def preconditioned_sgld(step_size, temperature=1.0, *, decay=0.99, floor=1e-3):
    """Langevin dynamics with a step size for each weight."""

    def init(position):
        return jax.tree.map(jnp.zeros_like, position)

    def update(position, momentum, grad, count, key, *, step_size, temperature):
        V = jax.tree.map(lambda v, g: decay * v + (1 - decay) * g**2, momentum, grad)
        # The mean over few steps is too small at first; divide by the weight it has (as Adam does).
        trust = 1 - decay ** (count + 1)
        G = jax.tree.map(lambda v: 1 / (jnp.sqrt(v / trust) + floor), V)
        noise = noise_like(key, position, temperature)
        position = jax.tree.map(
            lambda b, g, s, xi: b + step_size * s * g + jnp.sqrt(2 * step_size * temperature * s) * xi,
            position, grad, G, noise,
        )  # fmt: skip
        return position, V

    return aeb.Dynamics(init, update, step_size, temperature)


# %% [markdown]
# ### Does it sample what it should?
#
# We test it where the answer is known. Here the posterior of one number is normal with mean 2 and variance 0.25.
# Many chains run side by side: `jax.vmap` makes their states, and `aeb.chains` runs them. The flat prior below has
# nothing to learn, so its three functions do nothing.

# %%
flat = aeb.Prior(
    init=lambda params: (),
    log_density=lambda params, latent: jnp.zeros(()),
    update=lambda latent, params, omega, num_data, rss=None, kept=None: latent,
)


def where_chains_end(dynamics):
    """Over many chains, after enough steps to forget where they began."""
    algorithm = aeb.empirical_bayes(dynamics, flat, gain=0.0)
    # Four numbers of unit variance, all at 2: their mean is N(2, 1 / 4).
    kernel = aeb.build_kernel(
        algorithm, lambda mean, data: 0.5 * jnp.mean((data - mean) ** 2), num_data=4
    )
    states = jax.vmap(algorithm.init)(jnp.zeros(NUM_CHAINS))
    states, _ = aeb.sample(
        aeb.chains(kernel),
        states,
        jnp.full(4, 2.0),
        jax.random.key(0),
        num_steps=NUM_STEPS,
        batch_size=None,
        progress=False,
    )
    return states.position


ends = {}
print("wanted                    mean 2.000, variance 0.250")
for name, dynamics in {
    "aeb.sgld": aeb.sgld(step_size=0.02),
    "ours, memory of 10": preconditioned_sgld(step_size=0.02, decay=0.9),
    "ours, memory of 1,000": preconditioned_sgld(step_size=0.02, decay=0.999),
}.items():
    ends[name] = where_chains_end(dynamics)
    print(f"{name:25} mean {ends[name].mean():.3f}, variance {ends[name].var():.3f}")

# %% [markdown]
# The histograms below show where the chains end, for both memories. The black curve is the density that we want.

# %%
figure, axis = plt.subplots(figsize=(4.6, 2.8))
grid = np.linspace(0, 4, 200)
for name in ("ours, memory of 10", "ours, memory of 1,000"):
    axis.hist(ends[name], bins=60, range=(0, 4), density=True, histtype="step", label=name)
axis.plot(grid, np.sqrt(2 / np.pi) * np.exp(-2 * (grid - 2) ** 2), "k", linewidth=1, label="wanted")
axis.set(xlabel="where the chains end", yticks=[])
axis.legend(fontsize=7)
figure.tight_layout()
plt.show()

# %% [markdown]
# The check was worth it. The sampler with a short memory is far too wide. Its step size follows the last few
# gradients, so it depends on the position of the chain, and the update omits the term that would correct for this.
# With a memory of 1,000 steps the step size hardly changes, and the variance is that of plain Langevin dynamics.
# The rest of the error comes from the size of the step: for plain Langevin dynamics theory gives 0.260.
#
# ## A prior
#
# A prior says three things: where its latent variables start, how likely the weights are given them, and how they
# change given the weights. We take Student's t with `nu` degrees of freedom, as a normal distribution with a
# precision $\lambda_j$ for each weight. Given the weight, the expected precision is
#
# $$ \tilde\lambda_j = \frac{\nu + 1}{\nu s^2 + \beta_j^2} , $$
#
# so small weights are pulled to zero and large ones hardly feel it. `update` moves $\lambda$ a fraction `omega` of
# the way there. `aeb` chooses `omega` (the gain) and calls `update` after each step.


# %%
def student_t(nu=1.0, scale=0.02):
    """Student's t on each weight, by a precision that is learned."""

    def target(params):
        return jax.tree.map(lambda beta: (nu + 1) / (nu * scale**2 + beta**2), params)

    def log_density(params, latent):
        terms = jax.tree.map(lambda beta, lam: -0.5 * jnp.sum(lam * beta**2), params, latent)
        return sum(jax.tree.leaves(terms))

    def update(latent, params, omega, num_data, rss=None, kept=None):
        return jax.tree.map(
            lambda lam, new: (1 - omega) * lam + omega * new, latent, target(params)
        )

    return aeb.Prior(target, log_density, update)


# %% [markdown]
# ### Does it pull as it should?
#
# Once the precisions have settled, the pull on the weights must equal the gradient of the log density of
# Student's t. `jax.scipy` has that density.

# %%
prior, weights = student_t(nu=3.0, scale=0.5), jnp.array([-2.0, -0.1, 0.3, 5.0])
ours = jax.grad(prior.log_density)(weights, prior.init(weights))
exact = jax.grad(lambda w: jax.scipy.stats.t.logpdf(w, 3.0, scale=0.5).sum())(weights)
print("ours ", np.asarray(ours).round(4))
print("exact", np.asarray(exact).round(4))

# %% [markdown]
# ## Together
#
# Ingredients combine freely. We run each of two samplers with each of two priors on the digits that ship with the
# package, and prune nine of ten weights on the way.

# %%
digits, normalize = aeb.data.load("digits"), aeb.data.normalizer("digits")
num_data = len(digits.train["label"])
network = MLP(hidden=(64,), features=10)
loss_fn = make_loss(network, preprocess=normalize)
params = network.init(jax.random.key(0), normalize(digits.train["image"][:1]))["params"]

samplers = {
    "sghmc": aeb.sghmc(learning_rate=0.02, temperature=0.01),
    "ours": preconditioned_sgld(step_size=5e-4, temperature=0.01),
}
priors = {
    "spike-and-slab": aeb.spike_slab(v0=0.01, v1=1.0),
    "student t": student_t(),
}
for sampler, dynamics in samplers.items():
    for name, prior in priors.items():
        rule = aeb.magnitude(aeb.sparsity_ramp(0.9, LENGTH), scope="global")
        algorithm = aeb.empirical_bayes(dynamics, prior, sparsify=rule)
        kernel = aeb.build_kernel(algorithm, loss_fn, num_data=num_data)
        state, _ = aeb.sample(
            kernel,
            algorithm.init(params),
            digits.train,
            jax.random.key(1),
            num_steps=LENGTH,
            batch_size=64,
            progress=False,
        )
        logits = network.apply({"params": state.position}, normalize(digits.test["image"]))
        right = (logits.argmax(axis=1) == digits.test["label"]).mean()
        zeros = aeb.sparsity_report(state.position, None).sparsity
        print(f"{sampler:6} {name:15} {right:.1%} right with {zeros:.0%} zeros")

# %% [markdown]
# All four learn the digits with a tenth of their weights. Nobody tuned ours. On this problem the library's
# spike-and-slab prior does better with either sampler. One reason may be that Student's t pulls from the first
# step on, while the other prior waits until the ramp asks for zeros.
#
# ## Make it part of the library
#
# A sampler is one file in `aeb/dynamics/`, and a prior is one file in `aeb/priors/`. Add a row for yours to each
# table of the shared tests. They check that structure and dtype are kept, that the same key gives the same chain,
# that the chain samples the exact law of a normal posterior, and what it does at temperature 0.
# [CONTRIBUTING.md](../CONTRIBUTING.md) says where the tables are.
#
# **Where next**: [the optax face](optax_face.ipynb) puts your sampler into an existing training loop.
