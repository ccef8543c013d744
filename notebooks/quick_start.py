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
# # Quick start: a network with a tenth of its weights
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
#
# Start here if `aeb` is new to you. We train a small network in Flax, set nine of ten weights to zero with one
# call, look at the result, and save it. It takes half a minute on a laptop. The small mode shown here
# downloads no data: the 8x8 digits ship with the package.

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
import matplotlib.pyplot as plt
import optax

import aeb

SMALL = os.environ.get("AEB_NOTEBOOKS") == "small"
DATA = "digits" if SMALL else "mnist"
HIDDEN = 128 if SMALL else 512
NUM_STEPS = 1_000 if SMALL else 10_000

# %% [markdown]
# ## Train as you are used to
#
# We use a plain Flax module and Adam. Only the data loader comes from `aeb`.

# %%
data, normalize = aeb.data.load(DATA), aeb.data.normalizer(DATA)
train, test = data.train, data.test


class Net(nn.Module):
    """Two dense layers."""

    @nn.compact
    def __call__(self, images):
        x = images.reshape(len(images), -1)
        x = nn.relu(nn.Dense(HIDDEN, name="hidden")(x))
        return nn.Dense(10, name="head")(x)


net, adam = Net(), optax.adam(1e-3)
variables = net.init(jax.random.key(0), normalize(train["image"][:1]))


@jax.jit
def train_all(variables, images, labels, key):
    """Adam on random minibatches of 128."""

    def step(carry, key):
        variables, state = carry
        rows = jax.random.randint(key, (128,), 0, len(labels))

        def loss_fn(variables):
            logits = net.apply(variables, normalize(images[rows]))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

        updates, state = adam.update(jax.grad(loss_fn)(variables), state)
        return (optax.apply_updates(variables, updates), state), None

    start = (variables, adam.init(variables))
    return jax.lax.scan(step, start, jax.random.split(key, NUM_STEPS))[0][0]


images, labels = jax.numpy.asarray(train["image"]), jax.numpy.asarray(train["label"])
variables = train_all(variables, images, labels, jax.random.key(1))


def accuracy(variables):
    """Share of the test images that are read right."""
    logits = net.apply(variables, normalize(test["image"]))
    return float((logits.argmax(axis=1) == test["label"]).mean())


print(f"dense: {accuracy(variables):.1%} right")

# %% [markdown]
# ## Compress it
#
# One call does it. It holds out a tenth of the training images and uses them to find a learning rate. Then it
# goes on training under a spike-and-slab prior that learns itself. On the way it sets the smallest weights to
# zero, a few more at each step, so that the other weights can make up for them.
#
# The figure below shows the run: over the steps, the share of weights that are zero, and the accuracy on the
# held-out images, both in per cent.

# %%
result = aeb.compress(
    net,
    variables,
    train,
    sparsity=0.9,
    num_steps=NUM_STEPS,
    key=jax.random.key(2),
    preprocess=normalize,
    progress=False,
)
print(result)

# %%
print(f"sparse:                {accuracy(result.variables):.1%} right on the test images")
at_once = {"params": aeb.prune(variables["params"], 0.9)}
print(f"pruned without a care: {accuracy(at_once):.1%}")

# %%
steps = [look.step for look in result.history]
figure, axis = plt.subplots(figsize=(4.6, 2.6))
axis.plot(steps, [100 * look.accuracy for look in result.history], label="accuracy, held out")
axis.plot(steps, [100 * look.sparsity for look in result.history], label="zeros")
axis.set(xlabel="step", ylabel="%", ylim=(0, 102))
axis.legend(fontsize=7, loc="lower right")
figure.tight_layout()
plt.show()

# %% [markdown]
# The zeros come in the first two fifths of the run, and the accuracy on the held-out images hardly changes. On
# the test images the sparse network is level with the dense one (one of 360 images apart), and far above a
# network that is pruned at once. The report's first lines make the dense network look better than it is, because
# it was trained on the rows that are now held out. The fair comparison is on the test images.
#
# ## Save it
#
# A sparse file stores one bit for each weight, and the values of the weights that are not zero.

# %%
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "digits.safetensors"
    result.save(path)
    print(f"{path.stat().st_size:,} bytes on disk")
    loaded, about = aeb.load_sparse(path)
print(f"loaded: {accuracy(loaded):.1%} right on the test images")

# %% [markdown]
# ## Where next
#
# - [Compress a ResNet](compress_resnet.ipynb): BatchNorm, convolutions, and a control that every pruning method
#   should be compared with.
# - [The optax face](optax_face.ipynb): you have a training loop and want to keep it.
# - [How sure is my network?](how_sure.ipynb): sample instead of train, and average.
# - [Sparse regression](regression.ipynb): more columns than rows.
