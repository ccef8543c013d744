# SPDX-License-Identifier: Apache-2.0
"""The README's examples run as they stand. Mutation: any renamed argument or public name."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import aeb

README = Path(__file__).parent.parent / "README.md"


def examples():
    """The two blocks: of a network, and of a regression."""
    network, regression = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return network, regression


def test_a_short_run_of_the_example(tmp_path, monkeypatch):
    """Every name and argument of the first block, in fewer steps."""
    monkeypatch.chdir(tmp_path)
    short, changes = re.subn(r"num_steps=\d+", "num_steps=100", examples()[0])
    assert changes == 1
    names = {}
    exec(short, names)
    assert int(names["state"].step) == 100
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.slow
def test_the_example_runs_and_prunes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(examples()[0], names)
    digits, net, normalize = names["digits"], names["net"], names["normalize"]
    last = jax.tree.map(lambda x: x[-5:], names["draws"])

    def softmax(params, images):
        return jax.nn.softmax(net.apply({"params": params}, normalize(images)))

    probs = aeb.predict(softmax, last, digits.test["image"]).mean
    # The network learns and is sparse; how well it does is for the benchmarks to say.
    assert float((probs.argmax(axis=-1) == digits.test["label"]).mean()) > 0.8
    report = aeb.sparsity_report(names["state"].position, None)
    assert abs(report.sparsity - 0.9) < 0.001
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.slow
def test_the_regression_runs(capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 80))
    names = {"aeb": aeb, "X": x, "y": 2 * x[:, 7] + rng.normal(size=50), "X_new": x[:3]}
    exec(examples()[1], names)
    assert capsys.readouterr().out.splitlines()[1].startswith("x7 ")
    assert names["fit"].predict(x[:3]).shape == (3,)
