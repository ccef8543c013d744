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
# # Compress a ResNet
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
#
# You have a trained convolutional network with BatchNorm and want it small. We train a ResNet, compress it with
# one call, and compare the result with a control that is not Bayesian. The small mode shown here trains a
# ResNet8 on 8x8 digits and takes a minute on a laptop. The full mode trains a ResNet20 on CIFAR-10 and needs a
# GPU.

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
import matplotlib.pyplot as plt
import numpy as np
import optax

import aeb
from aeb.models import ResNet

SMALL = os.environ.get("AEB_NOTEBOOKS") == "small"
DATA = "digits" if SMALL else "cifar10"
NET = ResNet(depth=8, widths=(8, 16, 32)) if SMALL else ResNet(depth=20)
NUM_STEPS = 200 if SMALL else 20_000  # of training, and again of compressing
BATCH = 64 if SMALL else 128
SPARSITY = 0.9

# %% [markdown]
# ## A dense network
#
# This is the usual loop for a module with BatchNorm: it optimizes the parameters and updates the running
# moments. It takes any optax transformation, so the control can use it too.

# %%
data, normalize = aeb.data.load(DATA), aeb.data.normalizer(DATA)
num_data = len(data.train["label"])
augment = None if SMALL else aeb.data.compose(aeb.data.random_crop(4), aeb.data.random_flip())


def train(variables, tx):
    """Train from given variables with momentum SGD or what `tx` is."""

    @jax.jit
    def step(params, stats, opt_state, images, labels, key):
        images = normalize(images)
        if augment is not None:
            images = augment(key, images)

        def loss_fn(params):
            logits, new = NET.apply(
                {"params": params, "batch_stats": stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return loss, new["batch_stats"]

        grads, stats = jax.grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state

    params, stats = variables["params"], variables["batch_stats"]
    opt_state, rng = tx.init(params), np.random.default_rng(0)
    for number in range(NUM_STEPS):
        rows = rng.integers(num_data, size=BATCH)
        images, labels = data.train["image"][rows], data.train["label"][rows]
        key = jax.random.fold_in(jax.random.key(0), number)
        params, stats, opt_state = step(params, stats, opt_state, images, labels, key)
    return {"params": params, "batch_stats": stats}


predict = jax.jit(lambda variables, images: NET.apply(variables, normalize(images)).argmax(axis=1))


def accuracy(variables):
    """Share of the test images that are read right."""
    images, labels = data.test["image"], data.test["label"]
    parts = [predict(variables, images[i : i + 500]) for i in range(0, len(images), 500)]
    return float((np.concatenate(parts) == labels).mean())


rate = optax.cosine_decay_schedule(0.1, NUM_STEPS)
start = NET.init(jax.random.key(0), normalize(data.train["image"][:1]))
decay = optax.add_decayed_weights(5e-4)
dense = train(start, optax.chain(decay, optax.sgd(rate, momentum=0.9)))
print(f"dense: {accuracy(dense):.1%} right")

# %% [markdown]
# ## Compress it
#
# All weights of convolutions and dense layers may be pruned (`where=` would choose others). BatchNorm and biases
# are not touched. At the end, the running moments are computed again for the final weights. `result.variables`
# contains both.
#
# The bars below show, for each layer, the share of its weights that are left, in per cent.

# %%
result = aeb.compress(
    NET,
    dense,
    data.train,
    sparsity=SPARSITY,
    num_steps=NUM_STEPS,
    batch_size=BATCH,
    learning_rate=0.1,  # leave it out to have one found
    scope="global",  # as the control below
    key=jax.random.key(1),
    preprocess=normalize,
    augment=augment,
    progress=False,
)
print("\n".join(str(result).splitlines()[:4]))
print(f"{result.report.sparsity:.1%} zeros, {result.report.sparse_bytes:,} bytes")

# %%
kernels = {
    jax.tree_util.keystr(path[:-1], simple=True, separator="/"): float(np.mean(leaf != 0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(result.params)
    if path[-1].key == "kernel"
}
figure, axis = plt.subplots(figsize=(5, 2.8))
axis.barh(list(kernels)[::-1], [100 * share for share in kernels.values()][::-1])
axis.set(xlabel="weights left, %")
axis.tick_params(axis="y", labelsize=7)
figure.tight_layout()
plt.show()

# %% [markdown]
# One threshold for the whole network keeps weights where they matter most. The first layer, the last one and the
# shortcuts keep the largest shares, and the wide layers the smallest.
#
# ## The control
#
# The control is momentum SGD with weight decay. It has the same learning rate, steps and ramp, and sets the smallest
# weights to zero. (`aeb.compress` ranks weights by their worth to the loss, because this network has BatchNorm.) It
# has no prior that learns.

# %%
control = aeb.empirical_bayes(
    aeb.sghmc(learning_rate=rate, friction=0.1, temperature=0.0),
    aeb.gaussian(precision=5e-4 * num_data),
    gain=0.0,
    sparsify=aeb.magnitude(
        aeb.sparsity_ramp(SPARSITY, NUM_STEPS),
        scope="global",
        of="all",
        regrow=False,  # as in aeb.compress: a pruned weight never returns
    ),
)
tx = aeb.as_gradient_transformation(control, num_data=num_data, key=jax.random.key(2))
pruned = train(dense, tx)
share = aeb.sparsity_report(result.params, None).sparsity  # of the weights, without biases
at_once = {**dense, "params": aeb.prune(dense["params"], share)}

rows = {
    "dense": dense,
    "aeb.compress": result.variables,
    "control": pruned,
    "pruned at once": at_once,
}
for name, variables in rows.items():
    report = aeb.sparsity_report(variables["params"])
    print(f"{name:15} {accuracy(variables):6.1%} right, {report.sparsity:5.1%} zeros")

# %% [markdown]
# ## What we saw
#
# In the small mode, whose output is shown here:
#
# - If it is pruned at once, the network is useless. If it is pruned along a ramp, it keeps nearly all of its
#   accuracy with a tenth of its weights.
# - **The control is about as good as `aeb.compress`.** It is 1.7 points behind here, which is six of 360 test images,
#   with one seed. The standard error of such a difference is almost two points. On other networks, with three seeds, the
#   two are level.
#   `aeb.compress` learns from nine tenths of the images, because it holds out the others.
# - So the ramp saves the accuracy. What the prior adds is a sparsity that follows from its scales: call
#   `aeb.compress` with `sparsity=None`. Results for larger networks with several seeds are in
#   [docs/what-it-does.md](../docs/what-it-does.md).
#
# **Where next**: [how sure is my network?](how_sure.ipynb), or [the optax face](optax_face.ipynb), which
# prunes inside your own training loop.
