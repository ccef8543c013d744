# SPDX-License-Identifier: Apache-2.0
"""Zeros and bytes against counts made by hand."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aeb.files.report import sparsity_report, stored_bytes


def leaf(report, path):
    return {row.path: row for row in report.leaves}[path]


def test_counts_and_bytes_by_hand():
    """Fails if the mask is counted in whole values, or zeros are counted as kept."""
    params = {"kernel": jnp.zeros((3, 7)).at[0, :2].set(1.5), "bias": jnp.arange(1.0, 5.0)}
    report = sparsity_report(params)
    kernel = leaf(report, "kernel")
    assert (kernel.size, kernel.zeros, kernel.dense_bytes) == (21, 19, 84)
    assert kernel.sparse_bytes == 3 + 2 * 4
    assert kernel.sparsity == 19 / 21
    assert leaf(report, "bias").sparse_bytes == leaf(report, "bias").dense_bytes == 16
    assert (report.size, report.zeros, report.dense_bytes) == (25, 19, 100)
    assert report.sparse_bytes == 11 + 16
    assert report.sparsity == 19 / 25


@pytest.mark.parametrize(
    ("size", "kept", "itemsize", "expected"),
    [(8, 0, 4, 1), (9, 0, 4, 2), (8, 7, 4, 29), (8, 8, 4, 32), (64, 63, 2, 128), (0, 0, 4, 0)],
)
def test_the_smaller_form_is_chosen(size, kept, itemsize, expected):
    """Fails if the bits are rounded down, or the mask is paid for where dense is smaller."""
    assert stored_bytes(size, kept, itemsize) == expected


def test_a_negative_zero_is_a_zero_that_is_kept():
    """Fails if zeros are counted by bits, or kept values by comparison with 0."""
    row = leaf(sparsity_report(jnp.full(64, -0.0)), "")
    assert row.zeros == 64
    assert row.sparse_bytes == row.dense_bytes


def test_nan_and_infinity_are_no_zeros():
    """Fails if zeros are counted as what is not above or below 0."""
    assert sparsity_report(jnp.array([jnp.nan, jnp.inf, -jnp.inf, 0.0])).zeros == 1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32, jnp.int8, jnp.bool_])
def test_every_dtype_is_counted(dtype):
    """Fails if a value is taken to have four bytes."""
    row = leaf(sparsity_report(jnp.zeros(64, dtype).at[3].set(jnp.ones((), dtype))), "")
    size = jnp.dtype(dtype).itemsize
    assert (row.dtype, row.zeros, row.sparse_bytes) == (jnp.dtype(dtype).name, 63, 8 + size)


def test_linen_and_nnx_give_the_same_table(key):
    """Fails if the report names leaves otherwise than the rest of the library."""
    linen = nn.Dense(4).init(key, jnp.ones((1, 3)))
    model = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    reports = [sparsity_report(linen), sparsity_report(nnx.state(model, nnx.Param))]
    for report in reports:
        assert [(row.path, row.shape) for row in report.leaves] == [
            ("bias", (4,)),
            ("kernel", (3, 4)),
        ]


def test_where_chooses_the_leaves_and_the_totals():
    """Fails if the totals run over the whole tree."""
    params = {"kernel": jnp.zeros(8), "bias": jnp.ones(8)}
    assert sparsity_report(params, r"kernel$").sparsity == 1.0
    assert sparsity_report(params, None).sparsity == 1.0
    assert sparsity_report(params).sparsity == 0.5


def test_dict_survives_json():
    """Fails if a numpy number or a tuple is left in the dict."""
    report = sparsity_report({"a": jnp.zeros((2, 3)), "b": jnp.ones(())})
    text = json.dumps(report.to_dict())
    assert json.loads(text) == report.to_dict()
    assert report.to_dict()["total"] == {
        "size": 7,
        "zeros": 6,
        "sparsity": 6 / 7,
        "dense_bytes": 28,
        "sparse_bytes": 5,
    }
    assert report.to_dict()["leaves"][0]["shape"] == [2, 3]


def test_text_has_a_line_for_each_leaf_and_the_total():
    """Fails if columns are joined without widths, or the total is left out."""
    lines = str(sparsity_report({"a": jnp.zeros((100, 200)), "bb": jnp.ones(())})).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split()[:6] == ["a", "100x200", "float32", "20,000", "20,000", "100.00"]
    assert lines[-1].split()[0] == "total"
    assert "(array)" in str(sparsity_report(jnp.ones(3)))


def test_an_empty_array_has_no_sparsity():
    """Fails if the share of nothing divides by zero."""
    assert sparsity_report(jnp.zeros((0, 3))).sparsity == 0.0


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({}, ValueError, "params: no leaf"),
        ({"a": None}, ValueError, "params: no leaf"),
        ({"bias": np.ones(3)}, ValueError, "`where` chooses none"),
        ({"w": 1.0}, TypeError, "params: leaf 'w' is float"),
        ({"w": "x"}, TypeError, "params: leaf 'w' is str"),
        ({"w": np.array(["x"])}, TypeError, "params: leaf 'w' has dtype <U1"),
        ({"w": np.array([None])}, TypeError, "params: leaf 'w' has dtype object"),
        ({"w": np.ones(1, complex)}, TypeError, "params: leaf 'w' has dtype complex128"),
        ({"w": jax.ShapeDtypeStruct((2,), jnp.float32)}, TypeError, "is ShapeDtypeStruct"),
    ],
)
def test_bad_trees_are_refused(params, error, message):
    """Fails if a check is dropped: numpy would count the zeros of anything."""
    with pytest.raises(error, match=message):
        sparsity_report(params, None)


def test_a_typed_key_is_refused(key):
    """Fails if the check for keys is dropped: numpy says only that it cannot convert."""
    with pytest.raises(TypeError, match=r"leaf 'rngs/key' is a typed PRNG key.*key_data"):
        sparsity_report({"rngs": {"key": key}})


def test_statistics_are_named_and_not_counted():
    """Fails if a collection beside `params` counts, or the report is silent about it."""
    variables = {"params": {"w": jnp.eye(4)}, "batch_stats": {"mean": jnp.zeros(4)}}
    report = sparsity_report(variables)
    assert (report.size, report.zeros, report.left) == (16, 12, ("batch_stats/mean",))
    last = "not counted: 1 leaves of statistics ('batch_stats/mean')"
    assert str(report).splitlines()[-1] == last
    assert report.to_dict()["left"] == ["batch_stats/mean"]
    assert "not counted" in repr(report)
    assert sparsity_report(variables["batch_stats"]).size == 4


def test_a_report_is_short_in_a_session():
    """Fails if the repr lists leaves: a ResNet has hundreds of numbers in them."""
    report = sparsity_report({f"block_{n}": jnp.zeros(10) for n in range(100)})
    assert repr(report) == "SparsityReport(1,000 values in 100 leaves, 1,000 zeros, 100.00%)"
