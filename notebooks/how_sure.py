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
# # How sure is my network?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
#
# You act on a network's probabilities, so you want to know whether they are right. We train once with plain
# momentum SGD and once by sampling, and average each over its draws. Then we ask three questions. Are the
# probabilities right? Does averaging help? Does the network notice images of a kind that it has never seen?
#
# The small mode shown here takes half a minute. It learns 8x8 digits without the classes 8 and 9, which serve as
# unknown images. The full mode compares MNIST with Fashion-MNIST, and takes some minutes on a GPU.

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

import aeb
from aeb import diagnostics
from aeb.models import CNN, MLP, make_loss

SMALL = os.environ.get("AEB_NOTEBOOKS") == "small"
NUM_STEPS = 3_000 if SMALL else 20_000
DRAWS = 30

# %% [markdown]
# ## Data: known and unknown

# %%
if SMALL:
    digits, normalize = aeb.data.load("digits"), aeb.data.normalizer("digits")
    known = digits.test["label"] < 8
    train = {key: value[digits.train["label"] < 8] for key, value in digits.train.items()}
    test = {key: value[known] for key, value in digits.test.items()}
    unknown = digits.test["image"][~known]
    net = MLP(hidden=(64, 64), features=8)
else:
    mnist, normalize = aeb.data.load("mnist"), aeb.data.normalizer("mnist")
    train, test = mnist.train, mnist.test
    unknown = aeb.data.load("fashion_mnist").test["image"]
    net = CNN()

num_data = len(train["label"])
print(f"{num_data} images to learn from, {len(test['label'])} to test, {len(unknown)} unknown")

# %% [markdown]
# ## Two runs that differ in one number
#
# At temperature 0 the sampler is momentum SGD with weight decay. At temperature 1 it adds noise, and then it
# samples the posterior. Start, minibatches, learning rate and prior are the same. From the second half of each
# run we keep 30 draws.

# %%
loss_fn = make_loss(net, preprocess=normalize)
params = net.init(jax.random.key(0), normalize(train["image"][:1]))["params"]


def run(temperature):
    """Draws of a run."""
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(learning_rate=0.02, friction=0.1, temperature=temperature),
        aeb.gaussian(precision=10.0),
        gain=0.0,
    )
    _, draws = aeb.sample(
        aeb.build_kernel(algorithm, loss_fn, num_data=num_data),
        algorithm.init(params),
        train,
        jax.random.key(1),
        num_steps=NUM_STEPS,
        warmup=NUM_STEPS // 2,
        batch_size=64,
        collect=lambda state: state.position,
        every=NUM_STEPS // (2 * DRAWS),
        progress=False,
    )
    return draws


def probabilities(params, images):
    """Class probabilities of one network."""
    return jax.nn.softmax(net.apply({"params": params}, normalize(images)))


draws = {"SGD": run(0.0), "SGHMC": run(1.0)}
predictions = {}
for name, run_draws in draws.items():
    last = jax.tree.map(lambda leaf: leaf[-1:], run_draws)
    for kind, which in {"last": last, "average": run_draws}.items():
        predictions[f"{name}, {kind}"] = tuple(
            aeb.predict(probabilities, which, images, batch_size=1_000).mean
            for images in (test["image"], unknown)
        )

# %% [markdown]
# ## Are the probabilities right?
#
# *NLL* is the mean negative log probability of the true class, in nats; lower is better. *ECE* is the mean gap
# between how sure the network says it is and how often it is right. If a network is merely too sure of itself, one
# number can correct that, a temperature. *NLL, scaled* is the NLL after that correction, so it compares what the
# networks know. *Unknown found* is the chance that an unknown image has a higher entropy than a known one; 0.5 is
# guessing.
#
# The figure has three panels. On the left, how often the network is right by how sure it is; on the gray line it
# is exactly as sure as it should be. In the middle and on the right, histograms of the entropy of the
# predictions for known and unknown images, for SGD's last network and for the average of the sampler.


# %%
def auroc(low, high):
    """Chance that a value of the second kind is above one of the first."""
    return float(np.mean(np.asarray(high)[:, None] > np.asarray(low)[None, :]))


print(f"{'':16}{'accuracy':>9}{'NLL':>8}{'NLL, scaled':>13}{'ECE':>7}{'unknown found':>15}")
entropy = {}
for name, (probs, probs_unknown) in predictions.items():
    entropy[name] = [np.asarray(diagnostics.predictive_entropy(p)) for p in (probs, probs_unknown)]
    print(
        f"{name:16}{diagnostics.accuracy(probs, test['label']):9.1%}"
        f"{diagnostics.negative_log_likelihood(probs, test['label']):8.3f}"
        f"{diagnostics.temperature_scaled_nll(probs, test['label']):13.3f}"
        f"{diagnostics.expected_calibration_error(probs, test['label']):7.1%}"
        f"{auroc(*entropy[name]):15.3f}"
    )

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8))
axes[0].plot([0, 1], [0, 1], color="gray", linewidth=1)
for name, axis in (("SGD, last", axes[1]), ("SGHMC, average", axes[2])):
    curve = diagnostics.reliability_curve(predictions[name][0], test["label"], num_bins=10)
    filled = np.asarray(curve.counts) > 0
    axes[0].plot(curve.confidence[filled], curve.accuracy[filled], ".-", label=name)
    for values, label in zip(entropy[name], ("known", "unknown"), strict=True):
        axis.hist(values, bins=20, range=(0, 2), density=True, alpha=0.6, label=label)
    axis.set(title=name, xlabel="entropy, nats", yticks=[])
axes[0].set(xlabel="how sure", ylabel="how often right")
axes[0].legend(fontsize=7)
axes[1].legend(fontsize=7)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## What we saw
#
# In the small mode, whose output is shown here:
#
# - **Sampling pays off only if you average.** A single draw of the posterior is worse than the last network of SGD
#   in every column, because it contains the noise of the sampler. The average over the same draws is ahead in
#   accuracy, in both NLLs and in finding unknown images.
# - **Averages do not always win.** The draws of SGD hardly differ from each other, so averaging them gains little:
#   the NLL gets slightly worse. By ECE the average over SGD is the best of the four, because the average over the
#   posterior is less sure than it could be.
# - **The networks notice unknown images, but not all of them.** In the histograms known and unknown images overlap
#   for each network.
# - There are 288 test images and one seed: a difference of one point of accuracy is three images.
#
# The full mode gives other numbers, so check them before you rely on this list. Results with several seeds are
# in [docs/results.md](../docs/results.md).
#
# **Where next**: [many chains, many devices](many_chains_many_devices.ipynb) averages over several chains;
# [compress a ResNet](compress_resnet.ipynb) makes a network sparse.
