# SPDX-License-Identifier: Apache-2.0
"""`aeb compress` for a network of one's own: what it takes, what it leaves, how it complains.

Mutations that fail here: the first of two places of weights taken; latents left out of the memory;
`--dry-run` that makes its folder; what the user's code prints on stdout beside the JSON; predict
without the current folder. Not yet tried, on the tests that are slow: a learning rate divided by a
million; the file saved without its module; the dense network called sparse; a row of metrics
without its target; weights of NNX left as initialized; another split at the second start.
"""

import importlib
import json
import sys
import zipfile
from pathlib import Path

import chex
import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from flax import nnx
from flax.training.train_state import TrainState

import aeb
from aeb.cli import main
from aeb.cli.named import find
from aeb.cli.plan import RunPlan, plan_leaves
from aeb.cli.weights import place, read_weights
from aeb.files.lock import alone
from aeb.tree import named_leaves
from aeb.usage import UsageError

SOURCE = """
import flax.linen as nn
import jax.numpy as jnp
from flax import nnx

class Net(nn.Module):
    width: int = 16
    outputs: int = 3

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.Dense(self.width)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(self.outputs)(nn.relu(x))


def make():
    print("code of the user may print")
    return Net()


net, line = Net(width=8), Net(outputs=1)


class Wide(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(6, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.last = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.norm(self.first(x))))


def needs(width):
    return Net(width)


def fails():
    raise RuntimeError("no such luck")


def half(x):
    return 0.5 * x


number = 3
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder of a user: a module, rows to train on and to test on."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "toynet.py").write_text(SOURCE)
    (folder / "broken.py").write_text("import no_such_package\n")
    (folder / "wrong.py").write_text("1 / 0\n")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    y = np.where(x[:, 0] + x[:, 1] > 0.5, 2, np.where(x[:, 0] - x[:, 1] > 0, 1, 0))
    np.savez(folder / "train.npz", x=x[:300], y=y[:300])
    np.savez(folder / "test.npz", image=x[300:].astype(np.float32), label=y[300:])
    np.savez(folder / "real.npz", x=x, y=x[:, 0])
    np.savez(folder / "names.npz", inputs=x, classes=y)
    np.savez(folder / "both.npz", x=x, image=x, y=y)
    np.savez(folder / "short.npz", x=x, y=y[:9])
    np.savez(folder / "many.npz", x=x, y=y + 1)
    np.savez(folder / "column.npz", x=x, y=y[:, None])
    np.savez(folder / "nan.npz", x=np.where(x > 3, np.nan, x), y=y)
    np.savez(folder / "wide.npz", x=rng.normal(size=(9, 7)), y=y[:9])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
    for name in ("toynet", "broken", "wrong"):
        sys.modules.pop(name, None)


RUN = ["compress", "--model", "toynet:make", "--data", "train.npz", "--test", "test.npz"]
LENGTH = ["--dense-epochs", "60", "--num-steps", "80", "--batch-size", "32"]
LENGTH += ["--learning-rate", "0.1", "--sparsity", "0.5"]


@pytest.fixture(autouse=True, scope="module")
def _as_a_user_runs_it():
    """optax.adam, which trains the dense network, mixes dtypes."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def run(here):
    assert main([*RUN, *LENGTH, "--out", "run"]) == 0
    return here / "run"


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_a_network_of_ones_own_comes_out_sparse_and_right(run, here):
    results = json.loads((run / "results.json").read_text())
    dense, sparse = (results["arms"][name][0] for name in ("dense", "sparse"))
    assert dense["accuracy"] > 0.75
    assert sparse["accuracy"] > 0.9
    assert (dense["sparsity"], round(sparse["sparsity"], 2)) == (0.0, 0.5)
    # The file alone gives the network back, running moments included.
    model = aeb.load(run / "model.safetensors")
    rows = np.load(here / "test.npz")
    right = float((model(rows["image"]).argmax(axis=-1) == rows["label"]).mean())
    assert right == pytest.approx(sparse["accuracy"])
    assert aeb.sparsity_report(model.variables).sparsity == sparse["sparsity"]
    # Rows that are held out are neither trained on nor tested on.
    assert (results["plan"]["num_data"], results["plan"]["num_held_out"]) == (270, 30)
    assert sum(results["networks"]["sparse"]["reliability"]["counts"]) == 200


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_metrics_are_json_lines(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = "time seed stage step epoch loss accuracy sparsity target"
    assert {" ".join(row) for row in rows} == {names}
    last = {row["stage"]: row for row in rows}
    assert {stage: row["step"] for stage, row in last.items()} == {"dense": 480, "compress": 80}
    assert last["compress"]["target"] == pytest.approx(0.5)
    assert last["compress"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert (last["dense"]["target"], last["dense"]["epoch"]) == (None, 60.0)


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_pandas_reads_the_metrics(run):
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_json(run / "metrics.jsonl", lines=True)
    assert rows.groupby("stage").step.max().to_dict() == {"dense": 480, "compress": 80}


def test_a_plan_says_what_would_be_done_and_writes_nothing(here, capsys):
    before = sorted(here.rglob("*"))
    words = [*RUN, "--dry-run", "--sparsity", "0.5"]
    assert main([*words, "--json", "--out", "elsewhere"]) == 0
    shown = capsys.readouterr()
    plan = json.loads(shown.out)
    assert "code of the user may print" not in shown.out
    why = {leaf["path"]: leaf["why_not"] for leaf in plan["leaves"]}
    assert {path for path, reason in why.items() if reason is None} == {
        "Dense_0/kernel",
        "Dense_1/kernel",
    }
    assert "bias" in why["Dense_0/bias"]
    assert "moment" in why["batch_stats/BatchNorm_0/mean"]
    assert (plan["size"], plan["prunable"]) == (6 * 16 + 16 * 3 + 16 + 3 + 32, 6 * 16 + 16 * 3)
    assert (plan["dense_steps"], plan["num_steps"]) == (1000, 1000)
    assert main([*words, "--where", "Dense_1/kernel"]) == 2
    assert "--where" in capsys.readouterr().err
    assert sorted(p for p in here.rglob("*") if "__pycache__" not in p.parts) == [
        p for p in before if "__pycache__" not in p.parts
    ]


def test_a_run_leaves_the_folder_of_another_alone(here, capsys):
    """Mutation: the folder not locked."""
    busy = here / "busy"
    busy.mkdir()
    with alone(busy):
        assert main([*RUN, "--out", str(busy), "--sparsity", "0.5"]) == 2
    assert "out: another process is at work" in capsys.readouterr().err
    assert [path.name for path in busy.iterdir()] == [".lock"]


@pytest.mark.parametrize("sparsity", [0.5, None])
def test_the_memory_of_a_plan_is_that_of_a_state(sparsity):
    """Mutations: latents left out; no mask, or one without a target."""
    params = {"a": {"kernel": jnp.ones((7, 5)), "bias": jnp.ones(5)}}
    rule = importlib.import_module("aeb.compress")._rule(sparsity, 10, "relative")
    algorithm = aeb.empirical_bayes(aeb.sghmc(learning_rate=0.1), aeb.spike_slab(), sparsify=rule)
    state = jax.eval_shape(algorithm.init, params)
    arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]  # numbers are no weights
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)
    plan = RunPlan("", plan_leaves(params, (), None), sparsity, 1, 1, 1, 0, 1, 0, 1)
    gradient = 4 * plan.size
    assert plan.state_bytes == held + gradient


def test_an_nnx_module_and_its_weights(here, capsys):
    words = ["compress", "--model", "toynet:Wide", "--data", "train.npz", "--dry-run", "--json"]
    words += ["--sparsity", "0.5"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["prunable"] == 6 * 16 + 16 * 3
    aeb.save_sparse(here / "linen.safetensors", {"last": {"kernel": jnp.ones((16, 3))}})
    np.savez(here / "linen.npz", **{"last.kernel": np.ones((16, 3))})
    for name in ("linen.safetensors", "linen.npz"):
        (here / "plain").write_bytes((here / name).read_bytes())
        for file in (name, "plain"):  # which a file is stands in its first bytes too
            assert main([*words, "--params", file]) == 2
            assert "first/bias" in capsys.readouterr().err
    with zipfile.ZipFile(here / "zipped", "w") as archive:
        archive.writestr("weights/data.pkl", b"not of numpy")
    (here / "plain").write_text("neither of them")
    for file in ("plain", "zipped"):
        assert main([*words, "--params", file]) == 2
        assert "of no format that is known" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.quickly_compiled
@pytest.mark.filterwarnings("ignore:variables. on the rows held out")  # the weights are random ones
def test_an_nnx_module_runs_from_its_own_weights(here, capsys):
    module = find("model", "toynet:Wide")(nnx.Rngs(5))
    weights = nnx.state(module, (nnx.Param, nnx.BatchStat))
    aeb.save_sparse(here / "wide.safetensors", weights)
    words = ["compress", "--model", "toynet:Wide", "--data", "train.npz", "--json"]
    words += ["--params", "wide.safetensors", "--sparsity", "0.4", "--num-steps", "30"]
    words += ["--learning-rate", "0.1", "--weight-decay", "1e-4"]
    assert main([*words, "--out", "nnx"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["arms"] is None  # there were no test rows
    settings = json.loads((here / "nnx" / "compress" / "settings.json").read_text())
    assert settings["facts"]["weight_decay"] == 1e-4
    rows = np.load("train.npz")
    held_out = np.sort(np.random.default_rng(0).permutation(300)[:30])
    x, y = rows["x"][held_out].astype(np.float32), rows["y"][held_out]
    module.eval()
    nll = -jax.nn.log_softmax(module(x))[np.arange(30), y].mean()
    assert results["validation"]["dense"][0]["nll"] == pytest.approx(float(nll), rel=1e-4)
    model = aeb.load("nnx/model.safetensors")
    right = float((model(x).argmax(axis=-1) == y).mean())
    assert right == pytest.approx(results["validation"]["sparse"][0]["accuracy"])
    assert results["validation"]["sparse"][0]["sparsity"] == pytest.approx(0.4, abs=0.01)


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_an_interrupted_run_goes_on_to_the_same_bits(run, here, monkeypatch, capsys):
    real = aeb.compress

    def dies(*args, **options):
        with pytest.raises(TimeoutError):
            real(*args, **options, limit_seconds=1e-6)
        raise KeyboardInterrupt

    monkeypatch.setattr(aeb, "compress", dies)
    assert main([*RUN, *LENGTH, "--out", "again"]) == 130
    monkeypatch.setattr(aeb, "compress", real)
    assert main([*RUN, *LENGTH, "--out", "again"]) == 0
    for name in ("model.safetensors", "dense.safetensors"):
        assert (run / name).read_bytes() == (here / "again" / name).read_bytes()
    capsys.readouterr()
    assert main([*RUN, *LENGTH, "--out", "again", "--sparsity", "0.4"]) == 2
    assert "sparsity 0.5, not 0.4" in capsys.readouterr().err


def test_predict_finds_the_module_in_the_current_folder(here, capsys, monkeypatch):
    """Mutation: `use_current_folder` left out of predict, as when `aeb` is a script elsewhere."""
    net = find("model", "toynet:net")
    aeb.save_sparse("net.safetensors", net.init(jax.random.key(0), jnp.ones((1, 6))), module=net)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(here))])
    monkeypatch.delitem(sys.modules, "toynet")
    words = ["predict", "net.safetensors", "--data", "train.npz", "--out", "said.csv", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 300


@pytest.fixture(scope="module")
def trained():
    """A training state of linen whose optimizer has moments of the same shapes."""
    params = {"Dense_0": {"kernel": jnp.arange(6.0).reshape(3, 2), "bias": jnp.ones(2)}}
    net = nn.Dense(2)
    return TrainState.create(apply_fn=net.apply, params=params, tx=optax.adam(1e-3))


@pytest.mark.parametrize("form", ["sparse", "checkpoint", "msgpack", "safetensors", "npz"])
def test_weights_come_from_any_of_the_formats(form, trained, tmp_path):
    params = trained.params
    flat = {path.replace("/", "."): np.asarray(x) for path, x in named_leaves(params).items()}
    if form == "sparse":
        file = tmp_path / "net.safetensors"
        aeb.save_sparse(file, {"params": params, "batch_stats": {"mean": jnp.zeros(2)}})
    elif form == "checkpoint":
        algorithm = aeb.empirical_bayes(aeb.sghmc(learning_rate=0.1), aeb.spike_slab())
        file = tmp_path / "steps"
        aeb.checkpoint.save(file, 7, {"state": algorithm.init(params), "key": jax.random.key(0)})
    elif form == "msgpack":
        file = tmp_path / "state.msgpack"
        file.write_bytes(flax.serialization.to_bytes(trained))
    elif form == "safetensors":
        file = tmp_path / "torch.safetensors"
        safetensors.numpy.save_file(flat, file)
    else:
        file = tmp_path / "net.npz"
        np.savez(file, **flat)
    like = jax.eval_shape(lambda: params)
    placed = place(read_weights(file), like, "weights")
    chex.assert_trees_all_equal(placed, params)


def test_weights_that_do_not_fit_are_named(trained):
    arrays = {
        f"{home}/{path}": x
        for home in ("a", "b")
        for path, x in named_leaves(trained.params).items()
    }
    with pytest.raises(UsageError, match="in 2 places, 'a', 'b'"):
        place(arrays, trained.params, "weights")
    other = {"Dense_0/kernel": np.ones((3, 4)), "Dense_0/bias": np.ones(2)}
    with pytest.raises(UsageError, match=r"Dense_0/kernel is \[3, 4\], and --model has \[3, 2\]"):
        place(other, trained.params, "weights")


@pytest.mark.parametrize("of", ["linen", "manager", "nnx"])
def test_what_the_message_on_an_orbax_checkpoint_says_works(of, trained, tmp_path, monkeypatch):
    """Mutations: the folder of the first step named; `/value` left in the paths."""
    import orbax.checkpoint as ocp

    monkeypatch.chdir(tmp_path)
    module = nnx.Linear(3, 2, rngs=nnx.Rngs(1))
    params = nnx.state(module, nnx.Param) if of == "nnx" else trained.params
    if of == "manager":
        with ocp.CheckpointManager(tmp_path / "kept") as manager:
            manager.save(9, args=ocp.args.StandardSave(jax.tree.map(jnp.zeros_like, trained)))
            manager.save(10, args=ocp.args.StandardSave(trained))
    else:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "kept", params if of == "nnx" else trained)
    with pytest.raises(UsageError, match=r"^--params: kept is a checkpoint of orbax") as raised:
        read_weights(Path("kept"))
    exec(str(raised.value).split("in Python: ")[1].split(". Then")[0], {})
    placed = place(read_weights(Path("weights.msgpack")), params, "weights")
    for one, two in zip(jax.tree.leaves(placed), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "nowhere:make"}, "no module 'nowhere'"),
        ({"model": "toynet.py:make"}, "write it as an import does, toynet:make"),
        ({"model": "toynet:mke"}, "did you mean 'make'?"),
        ({"model": "toynet:number"}, "is int; needs to be a linen or NNX module"),
        ({"model": "toynet:needs"}, "toynet:needs needs width"),
        ({"model": "toynet:fails"}, "RuntimeError: no such luck ("),
        ({"model": "broken:make"}, "importing broken needs 'no_such_package'"),
        ({"model": "wrong:make"}, "ZeroDivisionError"),
        ({"model": "toynet:half"}, "toynet:half needs x"),
        ({"model": "toynet"}, "--model: got 'toynet'; needs to be cnn or resnet20"),
        ({"data": None}, "--data: name the rows to train on"),
        ({"data": "nowhere.npz"}, "--data: there is no 'nowhere.npz'"),
        ({"data": "toynet.py"}, "not an .npz file"),
        ({"data": "."}, "has no dataset_info.json"),
        ({"data": "names.npz"}, "needs one of image, x, features"),
        ({"data": "both.npz"}, "has image and x; leave one"),
        ({"data": "short.npz"}, "x has 500 rows and y 9"),
        ({"data": "many.npz"}, "--data: the classes run from 1 to 3"),
        ({"test": "many.npz"}, "--test: the classes run from 1 to 3"),
        ({"data": "column.npz"}, "save y[:, 0]"),
        ({"data": "nan.npz"}, "not finite"),
        ({"data": "real.npz"}, "pass the targets as integers"),
        ({"test": "wide.npz"}, "--test: a row of wide.npz, x and y is [7]"),
        ({"params": "nowhere.npz"}, "--params: there is no file nowhere.npz"),
        ({"params": "toynet.py"}, "no format that is known"),
        ({"params": "train.npz"}, "--params: of the 6 weights of --model, 6 are not in the file"),
        ({"preprocess": "toynet:number"}, "--preprocess: it is int"),
        (
            {"sparsity": "90"},
            "--sparsity: got 90.0, needs to be in [0, 1); it is a fraction, so 90 %",
        ),
        ({"sparsity": "0.9", "where": "Dense_0/kernel"}, "--sparsity: 0.9 of all 195 weights"),
        ({"where": "conv"}, "--where: 'conv' matches no leaf"),
        ({"arms": "sa"}, "--arms: it is for cnn, resnet20 alone"),
        ({"epochs": "3", "num-steps": "9"}, "--epochs: give it or --num-steps"),
        ({"model": "cnn", "data": "digits"}, "--test: it is for a network of your own alone"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_that_names_the_option(here, changes, says, capsys):
    options = {"model": "toynet:make", "data": "train.npz", "test": "test.npz"} | changes
    given = {name: value for name, value in options.items() if value is not None}
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    assert main(["compress", *words, "--dry-run"]) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("aeb: --")
    assert says in complaint


def test_rows_of_another_width_than_the_first_layer(here, capsys, tmp_path):
    """Mutation: JAX's own TypeError let through as a fault of the model."""
    np.savez(tmp_path / "flat.npz", x=np.ones((20, 5)), y=np.zeros(20, int))
    words = ["compress", "--model", "toynet:Wide", "--data", str(tmp_path / "flat.npz")]
    assert main([*words, "--dry-run"]) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("aeb: --data: the model does not take rows of the shape (5,);")
    assert "got (5,) and (6,)" in complaint


@pytest.mark.slow
@pytest.mark.quickly_compiled
@pytest.mark.filterwarnings("ignore:the network that came out", "ignore:variables. on the rows")
def test_a_regression_is_told_in_its_own_scores(here, capsys):
    """Mutations: `accuracy` named for every network; R2 without its mean; RMSE without its root."""
    np.savez("line.npz", x=np.load("real.npz")["x"], y=np.load("real.npz")["y"][:, None])
    words = ["compress", "--model", "toynet:line", "--data", "line.npz", "--test", "line.npz"]
    assert main([*words, *LENGTH, "--out", "far"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("aeb: --learning-rate: the run diverged, at step ")
    assert said.endswith("; give 0.01 in place of 0.1, or leave it out to have one found")
    assert main([*words, *LENGTH, "--learning-rate", "0.001", "--out", "line"]) == 0
    said = capsys.readouterr()
    assert "accuracy" not in said.out + said.err
    assert "calibration" not in said.out
    assert "(on 500 test rows)" in said.out
    assert "on 50 rows held out" in said.out
    scores = json.loads(Path("line/results.json").read_text())["arms"]["sparse"][0]
    assert scores["rmse"] ** 2 == pytest.approx(2 * scores["half_mse"])
    spread = np.load("line.npz")["y"].var()
    assert scores["r2"] == pytest.approx(1 - scores["rmse"] ** 2 / spread, rel=1e-4)
    assert main(["report", "line"]) == 0
    assert "on the 500 test rows, that of the dense network" in capsys.readouterr().out
    text = Path("line/report.html").read_text()
    assert "; RMSE" in text
    assert "NLL" not in text


@pytest.mark.data
def test_a_folder_that_tfds_prepared(here, capsys):
    import os
    from pathlib import Path

    root = os.environ.get("TFDS_DATA_DIR")
    if not root or not (Path(root) / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR is not set, or has no mnist")
    words = ["compress", "--model", "aeb.models:CNN", "--data", str(Path(root) / "mnist")]
    assert main([*words, "--limit-images", "20", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "uint8[20, 28, 28, 1] -> int32[20]" in shown.err
    assert "18 to train on, 2 held out" in shown.out
