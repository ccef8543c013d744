# SPDX-License-Identifier: Apache-2.0
"""The noise is `jax.random.normal` to the bit, whatever generator, however the leaves are cut.

Mutations that fail here: a rotation or the parity changed, a place off by one, the parts of a large
leaf started at 0, the draw of a generator that is not threefry taken for threefry.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.dynamics import noise
from aeb.dynamics.noise import standard_normal_like
from aeb.xla.threefry import fold_in, is_threefry, normal_at, split

SHAPES = ((3,), (2, 5), (), (170, 100), (0, 4), (7,), (16384,), (30, 30, 20))
"""Small leaves before, between and after those that are drawn by themselves."""


def leaves(dtype=jnp.float32):
    return [jnp.zeros(shape, dtype) for shape in SHAPES]


def cut_by_hand(key, dtype=jnp.float32):
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    flat = np.asarray(jax.random.normal(key, (sum(sizes),), dtype))
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), b)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_any_part_is_a_part_of_the_whole_draw(seed):
    key = jax.random.key(seed)
    words = jax.random.key_data(key)
    whole = np.asarray(jax.random.normal(key, (100_000,)))
    for start, shape in ((0, (100_000,)), (1, (99, 10, 3)), (99_999, (1,)), (500, ())):
        size = int(np.prod(shape))
        part = np.asarray(normal_at(words, start, shape))
        np.testing.assert_array_equal(part.ravel(), whole[start : start + size])
    late = normal_at(words, 3_000_000_000, (2,))  # beyond what an i32 holds
    assert late.shape == (2,)
    assert jnp.isfinite(late).all()


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_key_splits_as_ever(impl, compiled):
    key = jax.random.key(5, impl=impl)
    ours = jax.jit(split, static_argnums=1) if compiled else split
    expected = jax.random.split(jax.random.clone(key), 4)
    keys = ours(key, 4)
    assert keys.dtype == expected.dtype
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(expected))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("data", [0, 7, np.int32(-1), np.uint32(2**32 - 1)])
def test_a_number_is_folded_in_as_ever(impl, data):
    key = jax.random.key(5, impl=impl)
    expected = jax.random.fold_in(jax.random.clone(key), data)
    folded = jax.jit(fold_in)(key, data)
    assert folded.dtype == expected.dtype
    np.testing.assert_array_equal(jax.random.key_data(folded), jax.random.key_data(expected))


@pytest.mark.optimised  # without, the two programs round differently
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_tree_of_normals_is_one_draw_in_the_order_of_the_leaves(impl, compiled):
    key = jax.random.key(3, impl=impl)
    assert is_threefry(key) == (impl == "threefry2x32")
    draw = jax.jit(standard_normal_like) if compiled else standard_normal_like
    single_key, _ = jax.random.split(jax.random.clone(key))
    assert_same(draw(key, leaves()), cut_by_hand(single_key))


def test_the_older_layout_of_threefry_is_kept():
    """Its numbers depend on the size of the draw, so none can be made by itself."""
    with jax.threefry_partitionable(False):
        key = jax.random.key(3)
        assert not is_threefry(key)
        single_key, _ = jax.random.split(jax.random.clone(key))
        assert_same(standard_normal_like(key, leaves()), cut_by_hand(single_key))


def test_half_precision_draws_singles_and_doubles_have_a_draw_of_their_own():
    with jax.enable_x64(True):
        key = jax.random.key(4)
        single_key, double_key = jax.random.split(jax.random.clone(key))
        mixed = {"a": leaves(jnp.float64), "b": leaves(jnp.bfloat16)}
        drawn = standard_normal_like(key, mixed)
        assert_same(drawn["a"], cut_by_hand(double_key, jnp.float64))
        assert_same(drawn["b"], cut_by_hand(single_key))


def test_where_a_leaf_is_cut_does_not_matter(monkeypatch):
    whole = standard_normal_like(jax.random.key(6), leaves())
    for large in (1, 50, 10**9):
        monkeypatch.setattr(noise, "LARGE_ON_SEVERAL", large)
        again = standard_normal_like(jax.random.key(6), leaves())
        assert_same(again, [np.asarray(leaf) for leaf in whole])


@pytest.mark.parametrize(("devices", "apart"), [(1, 0), (2, 3)])
def test_a_leaf_that_may_be_spread_over_devices_draws_its_own_part(monkeypatch, devices, apart):
    """On one device only the largest do, for a program each takes long to compile."""
    whole = standard_normal_like(jax.random.key(6), leaves())
    drawn = []

    def counting(words, start, shape):
        drawn.append(shape)
        return normal_at(words, start, shape)

    monkeypatch.setattr(noise, "normal_at", counting)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    assert_same(standard_normal_like(jax.random.key(6), leaves()), [np.asarray(x) for x in whole])
    assert len(drawn) == apart


def test_chains_draw_what_each_would_alone():
    keys = jax.random.split(jax.random.key(7), 3)
    again = jax.random.clone(keys)
    together = jax.vmap(lambda key: standard_normal_like(key, leaves()))(keys)
    for chain in range(3):
        alone = standard_normal_like(again[chain], leaves())
        assert_same([leaf[chain] for leaf in together], [np.asarray(leaf) for leaf in alone])


def test_a_key_used_twice_is_found():
    with pytest.raises(jax.errors.KeyReuseError):
        jax.jit(lambda key: [standard_normal_like(key, leaves()) for _ in range(2)])(
            jax.random.key(8)
        )
