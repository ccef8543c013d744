# SPDX-License-Identifier: Apache-2.0
"""The compressed model: exact to the bit, small, and readable without aeb."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax
from flax import nnx

from aeb.files.archive import DamagedFileError, read_archive, write_archive
from aeb.files.report import sparsity_report
from aeb.files.sparse_file import inspect_sparse, load_sparse, save_sparse


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert isinstance(one, jax.Array)
        assert (one.shape, one.dtype) == (np.shape(other), other.dtype)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.98, 1.0])
@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "float16", "int32", "uint8", "int8", "float8_e4m3fn"]
)
def test_random_bits_come_back(path, dtype, share):
    """Fails if bits are packed in another order, or a nan or a -0 is taken for a zero."""
    rng = np.random.default_rng(0)
    bits = rng.integers(1, 256, (37, 5, np.dtype(dtype).itemsize), np.uint8)
    bits[rng.random((37, 5)) >= share] = 0
    params = {"w": bits.reshape(-1).view(dtype).reshape(37, 5)}
    save_sparse(path, params)
    assert_same_bits(load_sparse(path)[0], params)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_special_values_come_back(path, dtype):
    """Fails if kept values are chosen by comparison with 0, which loses the sign of -0."""
    tiny = np.finfo(np.float32).tiny / 2
    special = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, tiny, -tiny]
    params = {"w": jnp.zeros(200, dtype).at[:8].set(jnp.array(special, dtype))}
    save_sparse(path, params)
    assert inspect_sparse(path).report.sparse_bytes < params["w"].nbytes
    assert_same_bits(load_sparse(path)[0], params)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (7,), (8,), (9,), (2, 3, 4, 5)])
def test_every_shape_comes_back(path, shape):
    """Fails if the last, partly filled byte of the mask is read to its end."""
    params = {"zeros": jnp.zeros(shape), "ones": jnp.ones(shape)}
    save_sparse(path, params)
    assert_same_bits(load_sparse(path)[0], params)


@pytest.mark.parametrize("dtype", ["float64", "int64", "complex64", "bool"])
def test_64_bits_come_back_under_x64(path, x64, dtype):
    """Fails if a value passes through 32 bits."""
    params = {"w": jnp.zeros(50, dtype).at[3].set(jnp.asarray(1 / 3, dtype))}
    save_sparse(path, params)
    assert_same_bits(load_sparse(path)[0], params)


def test_64_bits_are_not_cut_without_x64(path):
    """Fails if the check is dropped: jax would round to 32 bits."""
    save_sparse(path, {"w": np.ones(3)})
    with pytest.raises(ValueError, match=r"path: leaf 'w' is float64.*enable_x64"):
        load_sparse(path)
    assert inspect_sparse(path).report.leaves[0].dtype == "float64"


@pytest.mark.parametrize("share", [0.05, 0.1, 0.9, 0.99])
def test_the_report_tells_the_bytes_of_the_file(path, share):
    """Fails if report and file disagree on what is stored as a bitmask, or how."""
    rng = np.random.default_rng(0)
    params = {
        "w": np.where(rng.random((200, 100)) < share, 1, 0).astype(np.float32),
        "b": np.ones(100, np.float16),
    }
    save_sparse(path, params)
    stored = safetensors.flax.load_file(path)
    assert sum(x.nbytes for x in stored.values()) == sparsity_report(params).sparse_bytes
    assert path.stat().st_size < sparsity_report(params).sparse_bytes + 1500


def test_a_model_without_zeros_is_not_larger_than_dense(path):
    """Fails if the mask is written where it saves nothing."""
    save_sparse(path, {"w": np.ones(10_000, np.float32)})
    assert list(safetensors.flax.load_file(path)) == ["dense:w"]


def test_the_layout_is_what_the_docstring_says(path):
    """Fails if a tensor is renamed, or the first value takes the lowest bit."""
    save_sparse(path, {"a": {"w": jnp.zeros(40).at[1].set(3.0).at[8].set(4.0)}})
    stored = safetensors.flax.load_file(path)
    np.testing.assert_array_equal(stored["mask:a/w"], [0b01000000, 0b10000000, 0, 0, 0])
    np.testing.assert_array_equal(stored["values:a/w"], [3.0, 4.0])


def test_linen_parameters_and_statistics_side_by_side(path, key):
    """Fails if `params` is taken off the path, or the statistics' mean of 0 is lost."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=True)(nn.Dense(16)(x))

    variables = Net().init(key, jnp.ones((1, 3)))
    for tree in (variables, {"params": variables["params"]}, variables["params"]):
        save_sparse(path, tree)
        assert_same_bits(load_sparse(path)[0], tree)
        assert_same_bits(load_sparse(path, like=jax.eval_shape(lambda tree=tree: tree))[0], tree)


def test_a_file_of_version_1_is_still_read():
    """Fails if its four entries are taken for damage, or its statistics for weights."""
    path = Path(__file__).parent / "version_1" / "sparse.safetensors"
    kernel = jnp.zeros((4, 8)).at[1, 2].set(3.0)
    tree = {
        "params": {"dense": {"kernel": kernel, "bias": jnp.arange(8.0)}},
        "batch_stats": {"bn": {"mean": jnp.zeros(8), "var": jnp.ones(8)}},
    }
    found, metadata = load_sparse(path)
    assert_same_bits(found, tree)
    assert metadata == {"step": 3, "name": "é"}
    assert_same_bits(load_sparse(path, like=tree)[0], tree)
    assert inspect_sparse(path).report == sparsity_report(tree)


def test_statistics_are_stored_and_told_apart(path):
    """Fails if the file forgets which leaves are statistics, or counts their zeros as pruned."""
    trees = (
        {"params": {"w": jnp.eye(8)}, "batch_stats": {"mean": jnp.zeros(8)}},
        nnx.state(nnx.BatchNorm(8, rngs=nnx.Rngs(0))),
    )
    for tree, left in zip(trees, (("batch_stats/mean",), ("mean", "var")), strict=True):
        save_sparse(path, tree)
        info = inspect_sparse(path)
        assert info.report == sparsity_report(tree)
        assert info.report.left == left
        assert f"not counted: {len(left)} leaves of statistics" in str(info)
        assert_same_bits(load_sparse(path, like=tree)[0], tree)


def test_nnx_state(path):
    """Fails if nnx's `value` stays in the path, or positions in a list become strings."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)])

    state = nnx.state(Net(nnx.Rngs(0)), nnx.Param)
    save_sparse(path, state)
    assert_same_bits(load_sparse(path)[0], nnx.to_pure_dict(state))
    assert_same_bits(load_sparse(path, like=state)[0], state)


def test_sequences_become_dicts_unless_like_is_given(path):
    """Fails if positions become strings, or `like` is not used for the structure."""
    params = {"a": [jnp.ones(2), (jnp.zeros(3), None)], "b": {}}
    save_sparse(path, params)
    assert_same_bits(load_sparse(path)[0], {"a": {0: params["a"][0], 1: {0: params["a"][1][0]}}})
    assert_same_bits(load_sparse(path, like=params)[0], params)


def test_a_bare_array_and_odd_names(path):
    """Fails if the empty path makes a dict, or a name can pass for another tensor's."""
    save_sparse(path, jnp.arange(3.0))
    assert_same_bits(load_sparse(path)[0], jnp.arange(3.0))
    params = {"mask:w": jnp.zeros(99), "w": jnp.zeros(99), "é/ü\n": jnp.ones(1), "": jnp.ones(2)}
    save_sparse(path, params)
    assert_same_bits(load_sparse(path)[0], params)


def test_metadata_comes_back(path):
    """Fails if metadata is stored with str()."""
    metadata = {"model": "resnet20", "step": 3, "nested": {"é": [1.5, None, True]}}
    save_sparse(path, jnp.ones(3), metadata=metadata)
    assert load_sparse(path)[1] == metadata
    save_sparse(path, jnp.ones(3))
    assert load_sparse(path)[1] == {}


def test_inspect_needs_no_model(path):
    """Fails if the report is not that of the tree that was saved."""
    params = {"dense": {"kernel": jnp.eye(30), "bias": jnp.ones(30, jnp.bfloat16)}}
    save_sparse(path, params, metadata={"step": 3})
    info = inspect_sparse(path)
    assert info.report == sparsity_report(params)
    assert info.metadata == {"step": 3}
    assert info.file_bytes == path.stat().st_size
    for text in ("step: 3", f"{info.file_bytes:,} bytes", "dense/kernel", "96.67 %"):
        assert text in str(info)


@pytest.mark.parametrize(
    ("params", "metadata", "error", "message"),
    [
        ({}, None, ValueError, "params: the tree holds no array"),
        ({"a": None}, None, ValueError, "params: the tree holds no array"),
        ({"a": {"w": 1.0}}, None, TypeError, "params: leaf 'a/w' is float"),
        ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, None, ValueError, "share the path 'a/b'"),
        (np.ones(1), {"x": np.ones(1)}, TypeError, "metadata: JSON cannot hold it"),
        (np.ones(1), {"x": float("nan")}, TypeError, "metadata: JSON cannot hold it"),
    ],
)
def test_what_cannot_be_stored_is_refused(path, params, metadata, error, message):
    """Fails if a check is dropped, or a file is left behind."""
    with pytest.raises(error, match=message):
        save_sparse(path, params, metadata=metadata)
    assert not path.exists()


def test_typed_keys_are_refused(path, key):
    """Fails if the check for keys is dropped."""
    with pytest.raises(TypeError, match="params: leaf 'rng' is a typed PRNG key"):
        save_sparse(path, {"rng": key})


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"w": jnp.ones((2, 3))}, "like: leaf 'b' is only in"),
        ({"w": jnp.ones((2, 3)), "b": jnp.ones(3), "c": jnp.ones(3)}, "like: leaf 'c' is not in"),
        ({"w": jnp.ones((3, 2)), "b": jnp.ones(3)}, r"like: leaf 'w' is \(\(3, 2\), 'float32'\)"),
        ({"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3)}, "like: leaf 'w' .*bfloat16"),
        ({"w": 1.0, "b": jnp.ones(3)}, "like: leaf 'w' .*float"),
    ],
)
def test_another_tree_is_refused(path, like, message):
    """Fails if a leaf of `like` keeps its own value, or is replaced by one of another shape."""
    save_sparse(path, {"w": jnp.zeros((2, 3)), "b": jnp.ones(3)})
    with pytest.raises(ValueError, match=message):
        load_sparse(path, like=like)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"values:w": np.ones(2, np.float32)}, "mask of 'w' keeps 1 values, the file has 2"),
        ({"values:w": np.ones(1, np.float16)}, "'w' is float16, not float32"),
        ({"values:w": None}, "it lacks the tensor values:w"),
        ({"mask:w": None}, "it lacks the tensor mask:w"),
        ({"mask:w": np.zeros(4, np.uint8)}, "mask of 'w' does not have 33 bits"),
        ({"mask:w": np.zeros(5, np.int8)}, "mask of 'w' does not have 33 bits"),
        ({"mask:w": np.array([0, 0, 0, 0, 1], np.uint8)}, "mask of 'w' keeps 1 values"),
        ({"dense:b": np.ones(4, np.float32)}, r"'b' is \(4,\), not \(3,\)"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(path, tensors, message):
    """Fails if a check is dropped: the checksum holds, the writer of the file erred."""
    save_sparse(path, {"w": jnp.zeros(33).at[0].set(1.0), "b": jnp.ones(3)})
    stored, header = read_archive(path, "sparse")
    changed = {name: x for name, x in {**stored, **tensors}.items() if x is not None}
    write_archive(path, "sparse", changed, header)
    for read in (load_sparse, inspect_sparse):
        with pytest.raises(DamagedFileError, match=message):
            read(path)


def test_a_flipped_weight_is_found(path):
    """Fails if the checksum is not looked at."""
    save_sparse(path, {"w": jnp.ones(3)})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"model\.safetensors is damaged.*checksum"):
        load_sparse(str(path))
