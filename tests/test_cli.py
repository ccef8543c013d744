# SPDX-License-Identifier: Apache-2.0
"""The command from the outside: what it writes, that it resumes, and how it complains.

Mutations that fail here: a checkpoint ignored on resume, settings of another run accepted, an error
that is a traceback or exits with another code, a panel instead of a line.
"""

import json
import re

import jax
import numpy as np
import pytest

import aeb
from aeb.cli import main
from aeb.cli import training as training_module
from aeb.cli.figure import LABELS
from aeb.cli.task import evaluate, make_task

QUICK = ["--dense-epochs", "1", "--epochs", "2", "--batch-size", "256", "--seeds", "1"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted run of two arms on the digits."""
    out = tmp_path_factory.mktemp("straight")
    words = ["compress", "--data", "digits", "--arms", "sa", "magnitude", *QUICK]
    assert main([*words, "--out", str(out)]) == 0
    return words, out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"aeb {aeb.__version__}\n"


def test_every_option_has_help(capsys):
    for words in (["demo"], ["compress"], ["inspect"], ["data", "prepare"]):
        with pytest.raises(SystemExit) as stop:
            main([*words, "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        lines = [line.strip("│ ") for line in text.splitlines()]
        options = [i for i, line in enumerate(lines) if re.match(r"--[a-z]", line)]
        assert len(options) >= {"demo": 11, "compress": 15, "data": 1, "inspect": 0}[words[0]]
        for i in options:
            # The help stands beside the option or, where that is long, below it.
            words_of_help = re.findall(r"[a-z]{3,}", re.sub(r"^--\S+( \S+)?", "", lines[i]))
            assert words_of_help or re.match(r"[A-Z]", lines[i + 1]), lines[i]


def test_a_run_leaves_model_figure_and_results(straight, capsys):
    _, out = straight
    results = json.loads((out / "results.json").read_text())
    assert list(results["arms"]) == ["dense", "sa", "magnitude"]
    run = results["arms"]["sa"][0]
    assert abs(run["sparsity"] - 0.9) < 1e-3
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    params, metadata = aeb.load_sparse(out / "model.safetensors")
    assert metadata["arm"] == "sa"
    report = aeb.sparsity_report(params)
    assert (report.sparsity, report.sparse_bytes) == (run["sparsity"], run["bytes"])
    capsys.readouterr()
    assert main(["inspect", str(out / "model.safetensors")]) == 0
    assert "fc1/kernel" in capsys.readouterr().out


def test_an_interrupted_run_ends_in_the_same_bits(straight, tmp_path, monkeypatch):
    words, out = straight
    real = aeb.sample
    calls = []

    def dies(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(training_module.aeb, "sample", dies)
    assert main([*words, "--out", str(tmp_path)]) == 130
    monkeypatch.setattr(training_module.aeb, "sample", real)
    assert main([*words, "--out", str(tmp_path)]) == 0
    left, right = (aeb.load_sparse(folder / "model.safetensors")[0] for folder in (out, tmp_path))
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert (out / "results.json").read_text() == (tmp_path / "results.json").read_text()


@pytest.mark.slow
def test_the_demo_compares_all_arms_and_each_is_its_own(tmp_path, capsys):
    """Mutations: EM given the gain of SA, the learned arm given a target, an ECE of 0."""
    # At v0 = 1 the prior holds little for slab within these few steps: far from the target.
    words = ["demo", *QUICK, "--sparsity", "0.3", "--v0", "0.05", "--out", str(tmp_path)]
    assert main(words) == 0
    table = capsys.readouterr().out
    arms = json.loads((tmp_path / "results.json").read_text())["arms"]
    assert list(arms) == ["dense", "magnitude", "em", "sa", "learned"]
    assert all(label in table for label in LABELS.values())
    for arm in ("magnitude", "em", "sa"):
        assert abs(arms[arm][0]["sparsity"] - 0.3) < 1e-3
    assert abs(arms["learned"][0]["sparsity"] - 0.3) > 0.01
    assert arms["dense"][0]["sparsity"] < 0.01
    assert len({run[0]["nll"] for run in arms.values()}) == 5
    assert all(0 < run[0]["ece"] < 1 for run in arms.values())
    # The file is that of the stochastic approximation, and scores what the table says.
    variables, _ = aeb.load_sparse(tmp_path / "model.safetensors")
    task = make_task("digits", "cnn")
    metrics, _ = evaluate(task, variables["params"], {})
    assert metrics._asdict() == pytest.approx(arms["sa"][0], rel=1e-5)


def test_a_run_with_other_settings_is_refused(straight, capsys):
    words, out = straight
    assert main([*words, "--out", str(out), "--learning-rate", "0.2"]) == 2
    assert "learning_rate 0.1, not 0.2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "demo, compress, inspect, data"),
        (["train"], "train"),
        (["demo", "--seeds", "many"], "--seeds"),
        (["demo", "--seeds", "0"], "seeds"),
        (["demo", "--sparsity", "1.5"], "sparsity"),
        (["demo", "--temperature", "-1"], "temperature"),
        (["demo", "--batch-size", "5000"], "batch_size"),
        (["demo", "--sparsity", "0.999"], "sparsity: 0.999 of all parameters"),
        (["demo", "--colour", "red"], "--colour"),
        (["compress", "--data", "imagenet"], "--data"),
        (["compress", "--start", "authors"], "--model resnet20"),
        (["compress", "--arms", "dense"], "--arms"),
        (["inspect"], "FILE"),
        (["inspect", "nowhere.safetensors"], "nowhere.safetensors"),
        (["data"], "prepare"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert complaint.startswith("aeb: ")
    assert complaint.count("\n") == 1


def test_a_damaged_file_and_missing_data_are_one_line_each(capsys, tmp_path, monkeypatch):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a model")
    assert main(["inspect", str(broken)]) == 2
    assert "broken.safetensors" in capsys.readouterr().err
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AEB_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["data", "prepare", "mnist"]) == 2
    complaint = capsys.readouterr().err
    assert "TFDS_DATA_DIR" in complaint
    assert complaint.count("\n") == 1
