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
# # Prune inside the Flax loop you have
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
#
# You have a working training loop and want to keep it. We take a plain Flax loop with Adam, replace the optimizer
# by an `aeb` algorithm, and get a network with nine of ten weights at zero. We do so first with a linen
# `TrainState`, then with an `nnx.Optimizer`. It takes half a minute.

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

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from flax.training.train_state import TrainState

import aeb

SMALL = os.environ.get("AEB_NOTEBOOKS") == "small"
DATA = "digits" if SMALL else "mnist"
EPOCHS = 15 if SMALL else 10
BATCH = 64

# %% [markdown]
# ## The loop you have
#
# The loop has a linen module, a loss, minibatches and Adam. Only the data come from `aeb`.

# %%
data, normalize = aeb.data.load(DATA), aeb.data.normalizer(DATA)
train_images, train_labels = np.asarray(normalize(data.train["image"])), data.train["label"]
test_images, test_labels = np.asarray(normalize(data.test["image"])), data.test["label"]
num_data = len(train_labels)
NUM_STEPS = EPOCHS * (num_data // BATCH)


class Net(nn.Module):
    """Two dense layers."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(128, name="hidden")(x))
        return nn.Dense(10, name="head")(x)


net = Net()
params = net.init(jax.random.key(0), train_images[:1])["params"]


@jax.jit
def train_step(state, images, labels):
    """One step of any optimizer."""

    def loss_fn(params):
        logits = state.apply_fn({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def batches(seed=0):
    """Minibatches of one epoch after another."""
    rng = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = rng.permutation(num_data)
        for first in range(0, num_data - BATCH + 1, BATCH):
            rows = order[first : first + BATCH]
            yield train_images[rows], train_labels[rows]


def train(tx):
    """Train from the same start with a given optimizer."""
    state = TrainState.create(apply_fn=net.apply, params=params, tx=tx)
    losses, zeros = [], []
    for images, labels in batches():
        state, loss = train_step(state, images, labels)
        losses.append(float(loss))
        zeros.append(float(jnp.mean(state.params["hidden"]["kernel"] == 0)))
    logits = net.apply({"params": state.params}, test_images)
    right = (logits.argmax(axis=1) == test_labels).mean()
    sparsity = aeb.sparsity_report(state.params, None).sparsity
    print(f"{right:.1%} right, {sparsity:.1%} zeros")
    return state, losses, zeros


dense, adam_losses, _ = train(optax.adam(1e-3))

# %% [markdown]
# ## One line changes
#
# `as_gradient_transformation` turns an algorithm into an optax transformation. It needs the number of rows,
# because a posterior weighs its prior against all of them, and a key for the noise. The learning rate is in
# optax's unit.

# %%
algorithm = aeb.empirical_bayes(
    aeb.sghmc(learning_rate=0.02, friction=0.1, temperature=0.01),
    aeb.spike_slab(v0=0.01, v1=1.0),
    sparsify=aeb.magnitude(aeb.sparsity_ramp(0.9, NUM_STEPS), scope="global"),
)
tx = aeb.as_gradient_transformation(algorithm, num_data=num_data, key=jax.random.key(1))
sparse, our_losses, our_zeros = train(tx)

# %% [markdown]
# Is it the prior that keeps the accuracy? To find out, we run a control: the same sampler without noise, the same
# ramp, and a plain Gaussian prior (weight decay) instead of the spike and slab.
#
# In the figure, the left panel shows the training loss over the steps for Adam, `aeb` and the control, averaged
# over 20 steps. The right panel shows the share of zeros in the hidden layer, in per cent.

# %%
control = aeb.empirical_bayes(
    aeb.sghmc(learning_rate=0.02, friction=0.1, temperature=0.0),
    aeb.gaussian(precision=5e-4 * num_data),
    gain=0.0,
    sparsify=aeb.magnitude(aeb.sparsity_ramp(0.9, NUM_STEPS), scope="global"),
)
_, control_losses, _ = train(
    aeb.as_gradient_transformation(control, num_data=num_data, key=jax.random.key(1))
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6))
for name, losses in {"Adam": adam_losses, "aeb": our_losses, "control": control_losses}.items():
    window = np.convolve(losses, np.ones(20) / 20, mode="valid")
    left.plot(window, label=name, linewidth=1)
left.set(xlabel="step", ylabel="training loss", yscale="log")
left.legend(fontsize=7)
right.plot(100 * np.array(our_zeros), color="tab:orange")
right.set(xlabel="step", ylabel="zeros of the hidden layer, %")
figure.tight_layout()
plt.show()

# %% [markdown]
# Zeros come fast at first, then more slowly. From half way on their number stays the same, so the network has time
# to recover. The zeros are exact, so `aeb.save_sparse` stores only the other weights.

# %%
import tempfile
from pathlib import Path

print(aeb.sparsity_report(sparse.params, None))
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "net.safetensors"
    aeb.save_sparse(path, sparse.params)
    loaded, _ = aeb.load_sparse(path)
    print(f"{path.stat().st_size:,} bytes on disk")
same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), sparse.params, loaded)
print("loaded as it was saved:", all(jax.tree.leaves(same)))

# %% [markdown]
# ## With other transformations
#
# Put the `aeb` transformation last in a chain, because anything that scales its updates brings pruned weights
# back. A transformation that returns gradients, such as clipping, may come before it.

# %%
clipped = optax.chain(optax.clip_by_global_norm(1.0), tx)
_ = train(clipped)

# %% [markdown]
# ## The same in NNX
#
# An `nnx.Optimizer` takes the transformation like any other.


# %%
class NNXNet(nnx.Module):
    """The same network."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(train_images[0].size, 128, rngs=rngs)
        self.head = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.hidden(x.reshape(len(x), -1))))


model = NNXNet(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)


@nnx.jit
def nnx_step(model, optimizer, images, labels):
    """One step."""

    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


for images, labels in batches():
    nnx_step(model, optimizer, images, labels)

accuracy = (model(test_images).argmax(axis=1) == test_labels).mean()
print(f"{accuracy:.1%} right")
print(aeb.sparsity_report(nnx.state(model, nnx.Param), None))

# %% [markdown]
# ## What we saw
#
# - One line of the loop changed, in linen and in NNX, and nine of ten weights are exactly zero.
# - Pruning so many weights costs a little accuracy here, and the control without Bayes is as good as the
#   spike-and-slab prior. To prune a network, you need a ramp that leaves time to recover. The prior adds a
#   sparsity that nobody has to choose (`aeb.learned`), and draws to average over.
#
# **Where next**: [compress a ResNet](compress_resnet.ipynb) has BatchNorm as well;
# [how sure is my network?](how_sure.ipynb) uses the draws.
