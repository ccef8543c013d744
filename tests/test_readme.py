# SPDX-License-Identifier: Apache-2.0
"""The README's example runs as it stands. Mutation: any renamed argument or public name."""

import re
from pathlib import Path

import jax

import aeb

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs_and_prunes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(example, names)
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
