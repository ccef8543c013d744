# SPDX-License-Identifier: Apache-2.0
"""`aeb predict`: a file alone is enough to run its network.

Mutations that fail here: the last batch lost, rows taken from the training split, a network run as
in training, raw outputs where probabilities are asked for.
"""

import csv
import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aeb
from aeb.cli import main
from aeb.models import MLP


def linear():
    return nnx.Linear(2, 3, rngs=nnx.Rngs(0))


LINEAR = f"{__name__}:linear"
"""A network of NNX, as `aeb predict --model` names it."""


class Noisy(nn.Module):
    """Dropout unless it is told to serve."""

    outputs: int = 3

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.outputs)(nn.Dropout(0.5, deterministic=not train)(x))


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A network of ours on the digits, and one that takes a flag; their outputs on rows."""
    monkeypatch.chdir(tmp_path)
    digits, normalize = aeb.data.load("digits"), aeb.data.normalizer("digits")
    net = MLP(features=10, hidden=(4,))
    images = normalize(digits.test["image"])
    variables = net.init(jax.random.key(0), images[:1])
    aeb.save_sparse("digits.safetensors", variables, module=net)
    noisy, x = Noisy(), np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
    own = noisy.init(jax.random.key(1), x, train=False)
    aeb.save_sparse("noisy.safetensors", own, module=noisy)
    return net.apply(variables, images), digits.test["label"], x, noisy.apply(own, x, train=False)


def test_it_writes_what_the_network_says_and_how_often_it_is_right(saved, capsys):
    logits, labels, _, _ = saved
    words = ["predict", "digits.safetensors", "--data", "digits", "--batch-size", "100"]
    assert main(words) == 0
    right = float((logits.argmax(axis=-1) == labels).mean())
    assert f"accuracy: {right:.4f}\n" in capsys.readouterr().out
    with np.load("predictions.npz") as out:
        assert sorted(out) == ["label", "probability"]
        np.testing.assert_array_equal(out["label"], logits.argmax(axis=-1))
        np.testing.assert_allclose(out["probability"], jax.nn.softmax(logits), rtol=1e-5)
    assert main([*words, "--json", "--raw"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(right)
    with np.load("predictions.npz") as out:
        np.testing.assert_allclose(out["output"], logits, rtol=1e-5, atol=1e-6)


def test_rows_without_targets_and_a_network_that_has_to_be_told_to_serve(saved, capsys):
    _, _, x, logits = saved
    np.savez("rows.npz", x=x)
    assert main(["predict", "noisy.safetensors", "--data", "rows.npz", "--out", "p.csv"]) == 0
    assert capsys.readouterr().out == "p.csv: label, probability of 5 rows\n"
    with open("p.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == logits.argmax(axis=-1).tolist()
    found = [[float(row[f"probability_{k}"]) for k in range(3)] for row in rows]
    np.testing.assert_allclose(found, jax.nn.softmax(logits), rtol=1e-5)


def test_a_regression(saved, capsys):
    _, _, x, _ = saved
    net = nn.Dense(1)
    variables = {"params": {"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)}}
    aeb.save_sparse("line.safetensors", variables, module=net)
    np.savez("rows.npz", features=x, target=x.sum(axis=1) + 0.5)
    assert main(["predict", "line.safetensors", "--data", "rows.npz"]) == 0
    assert capsys.readouterr().out.startswith("rmse: 0.5000\n")
    with np.load("predictions.npz") as out:
        np.testing.assert_allclose(out["prediction"][:, 0], x.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.safetensors", "--data", "digits"], "nowhere.safetensors"),
        (["bare.safetensors", "--data", "digits"], "does not say which module"),
        (["noisy.safetensors", "--data", "nothing"], "there is no 'nothing'"),
        (["noisy.safetensors", "--data", "digits"], "not take rows of the shape (8, 8, 1); with"),
        (["digits.safetensors", "--data", "text.npz"], "on rows of <U1[] the network raised"),
        (["noisy.safetensors", "--data", "odd.npz"], "needs rows in one of image, x, features"),
        (["noisy.safetensors", "--data", "five.npz"], "the classes run from 0 to 4"),
        (["noisy.safetensors", "--data", "real.npz"], "do not fit the outputs [5, 3]"),
        (["noisy.safetensors", "--data", "digits", "--out", "p.txt"], "--out: got p.txt"),
        (["noisy.safetensors", "--data", "digits", "--batch-size", "0"], "batch_size: got 0"),
        (["noisy.safetensors"], "--data"),
        (
            ["nowhere.npz", "--data", "five.npz", "--model", LINEAR],
            "FILE: there is no file nowhere",
        ),
        (
            ["bare.safetensors", "--data", "five.npz", "--model", LINEAR],
            "FILE: bare.safetensors: of",
        ),
        (["nowhere.npz", "--data", "five.npz"], "FILE: there is no file nowhere.npz"),
    ],
)
def test_what_predict_refuses_is_one_line_and_exit_code_2(saved, words, says, complaint):
    x = saved[2]
    aeb.save_sparse("bare.safetensors", {"w": jnp.ones(1)})
    np.savez("odd.npz", z=x)
    np.savez("five.npz", x=x, y=np.arange(5))
    np.savez("real.npz", x=x, y=np.ones(5))
    np.savez("text.npz", x=np.array(["a", "b"]))
    assert main(["predict", *words]) == 2
    said = complaint()
    assert says in said
    assert "--params" not in said


SOURCE = """
from flax import nnx


def double(x):
    return 2.0 * x


def deep():
    return nnx.Sequential(nnx.Linear(2, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 3, rngs=nnx.Rngs(1)))
"""


def test_what_the_network_was_trained_with_has_to_be_said(saved, complaint, tmp_path, monkeypatch):
    """Mutations: inputs taken as they are, which gives other labels; a module left as it starts."""
    _, _, x, _ = saved
    (tmp_path / "ownnet.py").write_text(SOURCE)
    np.savez("rows.npz", x=x)
    net = nnx.Sequential(nnx.Linear(2, 8, rngs=nnx.Rngs(2)), nnx.Linear(8, 3, rngs=nnx.Rngs(3)))
    metadata = {"model": "ownnet:deep", "preprocess": "ownnet:double"}
    aeb.save_sparse("deep.safetensors", nnx.state(net, nnx.Param), metadata=metadata)
    words = ["predict", "deep.safetensors", "--data", "rows.npz", "--raw"]
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    assert main(words) == 2
    assert "holds weights but no module; add --model ownnet:deep" in complaint()
    words += ["--model", "ownnet:deep"]
    assert main(words) == 2
    assert "--preprocess: the network was trained on inputs that ownnet:double" in complaint()
    for given, factor in (("ownnet:double", 2.0), ("none", 1.0)):
        assert main([*words, "--preprocess", given]) == 0
        with np.load("predictions.npz") as out:
            np.testing.assert_allclose(out["output"], net(factor * x), rtol=1e-5)
    noisy = Noisy().init(jax.random.key(1), x, train=False)
    aeb.save_sparse("bare.safetensors", noisy)
    named = ["predict", "bare.safetensors", "--data", "rows.npz", "--raw"]
    assert main([*named, "--model", f"{__name__}:Noisy"]) == 0
    with np.load("predictions.npz") as out:
        np.testing.assert_allclose(out["output"], Noisy().apply(noisy, x, train=False), rtol=1e-5)


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "their test rows" in text
    assert "package.module:function" in text
