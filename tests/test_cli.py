# SPDX-License-Identifier: Apache-2.0
"""The command from the outside: what it writes, that it resumes, and how it complains.

Mutations that fail here: a checkpoint ignored on resume, settings of another run accepted, an error
that is a traceback or exits with another code, a panel instead of a line; the learning rate of the
arms divided by a million, the test rows watched during a run, rows held out that are trained on.
"""

import json
import re
import shutil
import subprocess

import chex
import numpy as np
import pytest

import aeb
from aeb.cli import main
from aeb.cli.compress import HELD_OUT, Demo
from aeb.comparison import LABELS, Recipe, evaluate, make_plan, make_task, run_plan
from aeb.comparison import arms as arms_module
from benchmarks.demo.run import RECIPE, VALIDATION

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


def test_a_shell_completes_the_command(capsys, tmp_path):
    """Mutation: a help text of two lines, whose second bash would offer as words."""
    with pytest.raises(SystemExit) as stop:
        main(["--tyro-print-completion", "bash"])
    assert not stop.value.code
    script = tmp_path / "aeb.bash"
    script.write_text(capsys.readouterr().out)
    assert main(["--tyro-print-completion", "fish"]) == 2
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    ask = (
        'source "$0"; COMP_WORDS=(aeb compress "$1"); COMP_CWORD=2; COMP_LINE="aeb compress $1"; '
        'COMP_POINT=${#COMP_LINE}; _tyro_aeb aeb "$1" compress; echo "${COMPREPLY[*]}"'
    )
    for begun, ends in (("--mo", "--model"), ("--wh", "--where"), ("--sc", "--scope")):
        told = subprocess.run(
            ["bash", "-c", ask, script, begun], capture_output=True, text=True, check=True
        )
        assert told.stdout.split() == [ends]


def test_every_option_has_help(capsys):
    for words in (
        ["demo"],
        ["compress"],
        ["report"],
        ["compare"],
        ["inspect"],
        ["data", "prepare"],
    ):
        with pytest.raises(SystemExit) as stop:
            main([*words, "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        lines = [line.strip("│ ") for line in text.splitlines()]
        options = [i for i, line in enumerate(lines) if re.match(r"--[a-z]", line)]
        fewest = {"demo": 12, "compress": 26, "report": 2, "data": 2}
        assert len(options) >= fewest.get(words[0], 1)
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
    params, _ = aeb.load_sparse(out / "sa.safetensors")
    report = aeb.sparsity_report(params)
    assert (report.sparsity, report.sparse_bytes) == (run["sparsity"], run["bytes"])
    # Every arm is kept, and the best by the rows held out has a name of its own.
    scores = {arm: runs[0]["accuracy"] for arm, runs in results["validation"].items()}
    del scores["dense"]
    assert scores[results["best"]] == max(scores.values())
    _, metadata = aeb.load_sparse(out / "model.safetensors")
    assert metadata["arm"] == results["best"]
    assert (out / "magnitude.safetensors").exists()
    capsys.readouterr()
    assert main(["inspect", str(out / "model.safetensors")]) == 0
    assert "fc1/kernel" in capsys.readouterr().out
    # A file names its network, so that it can be run alone.
    words = ["predict", str(out / "sa.safetensors"), "--data", "digits", "--json"]
    assert main([*words, "--out", str(out / "predictions.csv")]) == 0
    found = json.loads(capsys.readouterr().out)["accuracy"]
    assert found == pytest.approx(run["accuracy"], abs=1e-6)


@pytest.mark.slow
def test_an_interrupted_run_ends_in_the_same_bits(straight, tmp_path, monkeypatch):
    words, out = straight
    real = aeb.sample
    calls = []

    def dies(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(arms_module.aeb, "sample", dies)
    assert main([*words, "--out", str(tmp_path)]) == 130
    monkeypatch.setattr(arms_module.aeb, "sample", real)
    assert main([*words, "--out", str(tmp_path)]) == 0
    left, right = (aeb.load_sparse(folder / "model.safetensors")[0] for folder in (out, tmp_path))
    chex.assert_trees_all_equal(left, right)
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
    # A file holds what its name says, and scores what the table says.
    assert (tmp_path / "model.safetensors").exists()
    variables, _ = aeb.load_sparse(tmp_path / "sa.safetensors")
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
        ([], "demo, compress, report, compare, inspect, data"),
        (["train"], "train"),
        (["demo", "--seeds", "many"], "--seeds"),
        (["demo", "--seeds", "0"], "seeds"),
        (["demo", "--sparsity", "1.5"], "sparsity"),
        (["demo", "--sparsity", "90"], "so 90 % is 0.9"),
        (["demo", "--temperature", "-1"], "temperature"),
        (["demo", "--batch-size", "5000"], "batch_size"),
        (["demo", "--sparsity", "0.999"], "sparsity: 0.999 of all parameters"),
        (["compress", "--validation", "0"], "validation"),
        (["compress", "--limit-images", "0"], "--limit-images: got 0"),
        (["compress", "--data", "digits", "--limit-images", "90"], "batch_size: got 500"),
        (["demo", "--colour", "red"], "--colour"),
        (["compress", "--data", "imagenet"], "--data"),
        (["compress", "--start", "authors"], "--model resnet20"),
        (["compress", "--arms", "dense"], "--arms"),
        (["inspect"], "FILE"),
        (["inspect", "nowhere.safetensors"], "nowhere.safetensors"),
        (["data"], "prepare"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, says, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = complaint()
    assert says in said
    assert said.startswith("aeb: ")


def test_a_damaged_file_and_missing_data_are_one_line_each(complaint, tmp_path, monkeypatch):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a model")
    assert main(["inspect", str(broken)]) == 2
    assert "broken.safetensors" in complaint()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AEB_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["data", "prepare", "mnist"]) == 2
    assert "TFDS_DATA_DIR" in complaint()


def test_the_status_of_the_sets_is_told_without_reading_them(tmp_path, monkeypatch, capsys):
    """Mutations: `load` in the place of `locate`, which decodes a minute long; `is None`."""
    monkeypatch.setenv("AEB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    prepared = tmp_path / "mnist" / "3.0.1"
    prepared.mkdir(parents=True)
    (prepared / "dataset_info.json").write_text("no array_record beside it")
    assert main(["data", "status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["sets"]
    assert told["mnist"] == {"ready": True, "source": str(prepared)}
    assert told["cifar10"] == {"ready": False, "source": None}
    assert told["digits"]["ready"]
    # A decoded set counts where no folder is named, as in `load`.
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "cifar10.npz").write_bytes(b"")
    assert main(["data", "status"]) == 0
    assert "cifar10: not there" in capsys.readouterr().out
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["data", "status"]) == 0
    assert f"cifar10: {tmp_path / 'cache' / 'cifar10.npz'}" in capsys.readouterr().out


def test_the_published_demo_is_the_one_that_runs():
    """Its settings are spelled out twice, so that a change of one shows."""
    demo = Demo()
    assert Recipe(**{name: getattr(demo, name) for name in vars(RECIPE)}) == RECIPE
    assert HELD_OUT == VALIDATION


@pytest.fixture(scope="module")
def short():
    """Every arm after a few epochs on part of the digits."""
    # In 6 epochs, 60 steps, the arm "sa" ends anywhere from 73 to 85 %.
    recipe = Recipe(sparsity=0.9, dense_epochs=8, epochs=12, learning_rate=0.1)
    plan = make_plan("digits", "cnn", recipe, ("magnitude", "sa"), validation=0.2, limit=800)
    return run_plan(plan, [0], progress=False)


@pytest.mark.slow
def test_the_command_learns(short):
    """Mutations: a millionth of the learning rate in dense training, or in the arms."""
    accuracy = {arm: runs[0].accuracy for arm, runs in short.test.items()}
    assert all(value > 0.8 for value in accuracy.values()), accuracy
    assert abs(short.test["sa"][0].sparsity - 0.9) < 1e-3


@pytest.mark.slow
def test_progress_is_told_to_the_end_where_there_is_no_terminal(monkeypatch, capsys):
    """Mutations: silent once rows held out have been scored; a line less than a second apart."""
    recipe = Recipe(sparsity=0.8, dense_epochs=1, epochs=1)
    plan = make_plan("digits", "cnn", recipe, ("magnitude",), validation=0.2, limit=200)
    monkeypatch.setattr("aeb.comparison.run.LINES_APART", 0.0)
    run_plan(plan, [0, 1])
    lines = capsys.readouterr().err.splitlines()
    told = [line.split(" epochs, ")[0].rsplit(", ", 1)[1] for line in lines]
    assert told == [f"{n} of 4" for n in (1, 2, 3, 4)]
    monkeypatch.setattr("aeb.comparison.run.LINES_APART", 1e9)
    run_plan(plan, [0, 1])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["seed 0", "seed 1"]


@pytest.mark.slow
def test_a_run_that_diverges_is_one_line(capsys, tmp_path):
    """Mutation: DivergenceError not among what the command reports."""
    words = ["compress", "--data", "digits", "--arms", "magnitude", "--learning-rate", "1e9"]
    assert main([*words, *QUICK, "--out", str(tmp_path)]) == 2
    heading, said = capsys.readouterr().err.splitlines()
    assert heading.startswith("aeb 0")
    assert said.startswith("aeb: divergence: at step ")


@pytest.mark.slow
def test_rows_held_out_are_watched_and_the_test_rows_are_not(short):
    """Mutations: history on the test rows, a split that shares rows."""
    task = short.plan.task
    assert (task.num_data, len(task.watched["label"])) == (640, 160)
    rows = np.concatenate([task.data.train["image"], task.watched["image"]]).reshape(800, -1)
    whole = make_task("digits", "cnn", 800).data.train["image"].reshape(800, -1)
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(whole, axis=0))
    for arm, fit in short.fits.items():
        last = short.validation[arm][0].accuracy
        assert fit.history[-1, 1] == pytest.approx(last, rel=1e-6)
        assert last != short.test[arm][0].accuracy
