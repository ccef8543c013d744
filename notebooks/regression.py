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
# # Sparse regression: from a data frame to a decision
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/)
#
# You have a table with more columns than rows, and you have to act on it. We take 60 diabetes patients with 64
# columns, ask which columns matter, and then decide which of 382 other patients to see early. It takes half a
# minute on a laptop and needs no GPU.

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
from itertools import combinations_with_replacement

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LassoCV

import aeb

SMALL = os.environ.get("AEB_NOTEBOOKS") == "small"
NUM_DRAWS = 250 if SMALL else 1000

# %% [markdown]
# ## The data
#
# Each row is a patient, each column a measurement: age, sex, body mass index, blood pressure and
# six values from a blood sample. `target` says how far the disease has progressed a year later. Two
# measurements may act together, so we add the square of each column and the product of each pair.
# That makes 64 columns out of 10 (sex has only two values, so its square adds nothing).

# %%
table, target = load_diabetes(return_X_y=True, as_frame=True, scaled=True)
table = 20 * table  # the file's unit is small; now most values lie between -2 and 2
wide = table.copy()
for a, b in combinations_with_replacement(table.columns, 2):
    if not a == b == "sex":
        wide[f"{a} x {b}"] = table[a] * table[b]

order = np.random.default_rng(0).permutation(len(wide))
known, new = order[:60], order[60:]
X, y = wide.iloc[known], target.iloc[known]
X_new, y_new = wide.iloc[new], target.iloc[new]
print(f"{len(X)} patients with {X.shape[1]} columns each; {len(X_new)} more to decide on")

# %% [markdown]
# ## Which columns matter?
#
# `aeb.regression` takes the data frame as it is. *Inclusion* is the probability that a column belongs
# in the model at all. Two intervals follow. The first is averaged over models, and counts 0 where a model
# leaves the column out. The second is for the coefficient given that the column is in.

# %%
fit = aeb.regression(X, y, num_draws=NUM_DRAWS)
print(fit.summary(rows=6))

# %% [markdown]
# With 60 patients the data support two columns: `s5` (a fat in the blood) and `bmi`. None of the others is
# likely. *Not likely* does not mean *ruled out*: blood pressure keeps a chance of one in eleven.
#
# All chains came to the same answer: R-hat is near 1. If it were not, we would ask for more draws.
#
# The bars below show the inclusion probabilities of the twelve most likely columns. The dashed line is at 1/2.

# %%
chance = fit.inclusion[np.argsort(-fit.inclusion)][:12]
names = [fit.names[j] for j in np.argsort(-fit.inclusion)[:12]]
figure, axis = plt.subplots(figsize=(5, 2.8))
axis.barh(names[::-1], chance[::-1], color="tab:blue")
axis.axvline(0.5, color="gray", linewidth=1, linestyle="--")
axis.set(xlabel="probability that the column belongs in the model", xlim=(0, 1))
figure.tight_layout()
plt.show()

# %% [markdown]
# ## How well does it predict?
#
# We predict the 382 patients that the fit has not seen. We compare with the lasso, whose penalty is chosen by
# ten-fold cross-validation, and with the plain mean.

# %%
lasso = LassoCV(cv=10, random_state=0, max_iter=50_000).fit(X, y)
predictions = {
    "aeb.regression": fit.predict(X_new),
    "lasso": lasso.predict(X_new),
    "mean": np.full(len(y_new), y.mean()),
}
columns = {"aeb.regression": len(fit.selected), "lasso": np.sum(lasso.coef_ != 0), "mean": 0}
for name, guess in predictions.items():
    error = np.sqrt(np.mean((guess - y_new) ** 2))
    print(f"{name:15} RMSE {error:5.1f}, {columns[name]:2} columns")

# %% [markdown]
# ## From numbers to a decision
#
# Suppose that a visit costs 1, and that missing a patient whose disease goes beyond 200 costs 4. Then the
# cheapest rule is to see everyone whose chance of going beyond 200 is above 1 / 4. For this rule we need a
# probability, not a best guess. Each draw of the posterior is a complete model with its own coefficients
# and its own noise, so we ask all draws and take the mean.

# %%
BEYOND, VISIT, MISS = 200, 1, 4


def chance_beyond(mean, sigma):
    """Probability that a normal value lies beyond the limit."""
    return norm.sf(BEYOND, loc=mean, scale=sigma)


draws = fit.draws.reshape(-1, X.shape[1])
means = X_new.to_numpy() @ draws.T + fit.intercept_draws.ravel()  # [patients, draws]
chances = chance_beyond(means, fit.sigma_draws.ravel()).mean(axis=1)
for patient in range(3):
    middle, probability = means[patient].mean(), chances[patient]
    visit = "see" if probability > VISIT / MISS else "wait"
    print(
        f"patient {patient}: expect {middle:.0f}, beyond {BEYOND} with {probability:.0%}: {visit}"
    )

# %% [markdown]
# What does each rule cost over all new patients? For the lasso we try two rules. The first acts if its guess is
# beyond 200. The second acts on a probability that we compute from its guess and the spread of its residuals.

# %%
residual = np.sqrt(np.sum((lasso.predict(X) - y) ** 2) / (len(y) - columns["lasso"] - 1))
rules = {
    "chance above 1/4, aeb": chances > VISIT / MISS,
    "guess above 200, aeb": predictions["aeb.regression"] > BEYOND,
    "chance above 1/4, lasso": chance_beyond(predictions["lasso"], residual) > VISIT / MISS,
    "guess above 200, lasso": predictions["lasso"] > BEYOND,
    "see everyone": np.ones(len(y_new), bool),
    "see no one": np.zeros(len(y_new), bool),
}
for name, seen in rules.items():
    missed = np.sum(~seen & (y_new > BEYOND))
    cost = (VISIT * seen.sum() + MISS * missed) / len(y_new)
    print(f"{name:24} cost {cost:.2f} a patient ({seen.sum():3} seen, {missed:2} missed)")

# %% [markdown]
# ## Are the probabilities right?
#
# We sort the new patients by their chance, and cut them into six groups. The figure compares the mean predicted
# chance of each group with the share that did go beyond 200. On the gray diagonal the two agree.

# %%
groups = np.array_split(np.argsort(chances), 6)
said = [chances[group].mean() for group in groups]
seen = [np.mean(y_new.to_numpy()[group] > BEYOND) for group in groups]
figure, axis = plt.subplots(figsize=(3.4, 3.2))
axis.plot([0, 1], [0, 1], color="gray", linewidth=1)
axis.plot(said, seen, "o-", color="tab:blue")
axis.set(xlabel="chance, as predicted", ylabel="share, as it came", xlim=(0, 1), ylim=(0, 1))
figure.tight_layout()
plt.show()

# %% [markdown]
# ## What we saw
#
# - Two of 64 columns carry the prediction. The lasso keeps six, and its error is a little smaller. If all you
#   want is one number per patient, it is a good and quicker tool.
# - The posterior adds a probability for each column and each patient. Acting on a probability cost less than
#   acting on a guess. Here the lasso's guess with the spread of its residuals cost a little less than the
#   posterior, so the gain comes from using a probability, whoever computes it.
# - The chances are close to what happened. At the lower end they are a little too high.
#
# **Where next**: [how sure is my network?](how_sure.ipynb) asks the same of a neural network. How
# `aeb.regression` compares over 50 data sets with known truth is in
# [docs/results.md](../docs/results.md).
