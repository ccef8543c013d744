# SPDX-License-Identifier: Apache-2.0
"""The README's example runs as it stands. Mutation: any renamed argument or public name."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs_and_prunes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(example, names)
    right = names["probs"].argmax(axis=-1) == names["digits"].test["label"]
    # The network learns and is sparse; how well it does is for the benchmarks to say.
    assert float(right.mean()) > 0.8
    report = names["aeb"].sparsity_report(names["state"].position, None)
    assert abs(report.sparsity - 0.9) < 0.001
    assert (tmp_path / "model.safetensors").exists()
    assert "total" in capsys.readouterr().out
