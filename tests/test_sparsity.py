# SPDX-License-Identifier: Apache-2.0
"""Pruning rules against a sort in numpy: exact counts, ties by index, scopes, frozen zeros.

Mutations that fail here: `<` for `<=` in the search, a digit beyond the type let in, ties not by
index or by their index among the joined leaves, the fraction of "all" taken of the selected leaves,
a momentum left under a frozen mask, rho < threshold made <=; of "relative" the leaf not divided by
its norm, no weight held, all of a tie held, a zero held; of leaves searched side by side, what
fills up a row counted, or the search ended by the first of them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aeb
from aeb.sparsity.rule import pruning_rule
from aeb.xla.threshold import SMALL, order_bits, smallest, smallest_of_each


def everywhere(path, leaf):
    return True


def lowest(values, count):
    """The oracle: a stable sort."""
    flat = np.concatenate([np.abs(np.asarray(v, np.float64)).ravel() for v in values])
    marks = np.zeros(flat.size, bool)
    marks[np.argsort(flat, kind="stable")[:count]] = True
    return marks


chosen = jax.jit(lambda values, count: smallest([order_bits(values)], count))
each = jax.jit(lambda values, counts: smallest_of_each([order_bits(values)], counts))
numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-40, 1e-30, 3e38, -2.5, 1.0000001, np.inf])


@given(
    values=st.lists(
        st.one_of(numbers, st.floats(width=32, allow_nan=False)), min_size=12, max_size=12
    ),
    count=st.integers(0, 12),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_smallest_is_a_stable_sort(values, count):
    values = np.array(values, np.float32)
    # Subnormals are flushed by XLA's arithmetic, not by the bits: keep them out of abs's way.
    split = [jnp.asarray(values[:5]), jnp.asarray(values[5:]).reshape(7, 1)]
    marks = np.concatenate([np.asarray(m).ravel() for m in chosen(split, count)])
    np.testing.assert_array_equal(marks, lowest([values], count))


@pytest.mark.parametrize("values", [(1.0,), (0.0, 0.5, 2.0)], ids=["ties alone", "and others"])
@pytest.mark.parametrize("beyond", [-3, 2, SMALL // 2, SMALL + 5])
def test_small_leaves_beside_large_ones_keep_their_order(values, beyond):
    """Small leaves are joined for the search, large ones not; ties still go leaf by leaf."""
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (SMALL // 8, 8), (5,), (8, SMALL // 4), (7, 1)]
    leaves = [rng.choice(values, size=shape).astype(np.float32) for shape in shapes]
    count = 6 + beyond
    marks = chosen([jnp.asarray(leaf) for leaf in leaves], count)
    assert [mark.shape for mark in marks] == shapes
    found = np.concatenate([np.asarray(mark).ravel() for mark in marks])
    np.testing.assert_array_equal(found, lowest(leaves, count))


def loops_of(jaxpr):
    """Yield the body of every `while` of a traced program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "while":
            yield equation.params["body_jaxpr"]
        else:
            for inner in jax.tree.leaves(list(equation.params.values())):
                if hasattr(inner, "jaxpr"):
                    yield from loops_of(inner.jaxpr)


@pytest.mark.parametrize("search", [smallest, smallest_of_each])
def test_all_searches_have_the_same_loop(search):
    """XLA compiles equal loops once: two criteria, and the ties that both leave."""
    leaves = order_bits([jnp.ones((30, 20)), jnp.ones(50)])
    marked = [jnp.ones((30, 20), jnp.uint32), jnp.zeros(50, jnp.uint32)]
    count = (jnp.int32(9), jnp.int32(4)) if search is smallest_of_each else jnp.int32(9)
    loops = list(loops_of(jax.make_jaxpr(search)([marked, leaves], count).jaxpr))
    assert len(loops) == 3
    assert len({str(loop) for loop in loops}) == 1


@pytest.mark.parametrize("values", [(1.0,), (0.0, 0.5, 2.0)], ids=["ties alone", "and others"])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.77, 1.0])
def test_leaves_searched_side_by_side_are_each_a_stable_sort(values, fraction):
    """Rows that are filled up, leaves of one row and of several, an empty one, a scalar."""
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (70, 3), (), (0, 4), (64,), (130,), (SMALL // 8, 8)]
    leaves = [rng.choice(values, size=shape).astype(np.float32) for shape in shapes]
    counts = [round(fraction * leaf.size) for leaf in leaves]
    marks = each([jnp.asarray(leaf) for leaf in leaves], counts)
    for mark, leaf, count in zip(marks, leaves, counts, strict=True):
        assert mark.shape == leaf.shape
        np.testing.assert_array_equal(np.asarray(mark).ravel(), lowest([leaf], count))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("scope", ["leaf", "global"])
def test_magnitude_leaves_the_exact_count(dtype, scope):
    params = {"a": jax.random.normal(jax.random.key(0), (37, 11)), "b": jnp.arange(-8.0, 9.0)}
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    pruned = aeb.prune(params, 0.9, scope=scope)
    zeros = {k: int((np.asarray(v) == 0).sum()) for k, v in pruned.items()}
    if scope == "leaf":
        assert zeros == {"a": round(0.9 * 407), "b": round(0.9 * 17)}
        expected = lowest([params["a"]], zeros["a"]).reshape(37, 11)
        np.testing.assert_array_equal(np.asarray(pruned["a"]) == 0, expected)
    else:
        assert sum(zeros.values()) == round(0.9 * 424)
        marks = lowest([params["a"], params["b"]], round(0.9 * 424))
        np.testing.assert_array_equal(np.asarray(pruned["a"]) == 0, marks[:407].reshape(37, 11))
    kept = np.asarray(pruned["a"]) != 0
    np.testing.assert_array_equal(np.asarray(pruned["a"])[kept], np.asarray(params["a"])[kept])


def test_double_precision_breaks_ties_that_single_cannot(x64):
    values = jnp.array([1.0 + 2e-12, 1.0, 1.0 + 1e-12])
    assert smallest([order_bits([values])], 1)[0].tolist() == [False, True, False]


def test_all_counts_zeros_over_every_parameter():
    params = {"kernel": jnp.arange(1.0, 81.0), "bias": jnp.ones(20)}
    state = (params, (), None, (), 0, lambda path, leaf: path == "kernel")
    pruned, _, _ = aeb.magnitude(0.6, of="all").apply(*state)
    assert int((pruned["kernel"] == 0).sum()) == 60
    pruned, _, _ = aeb.magnitude(0.6).apply(*state)
    assert int((pruned["kernel"] == 0).sum()) == 48


def test_a_target_out_of_reach_is_refused():
    params = {"kernel": jnp.ones(80), "bias": jnp.ones(20)}
    algorithm = aeb.empirical_bayes(
        aeb.sgld(1e-3), aeb.spike_slab(0.1, 1.0), sparsify=aeb.magnitude(0.9, of="all")
    )
    with pytest.raises(ValueError, match=r"ramp: 0\.9 of all parameters"):
        algorithm.init(params)


def relative(values, count):
    """The oracle: hold the largest of each leaf, then prune the smallest over the leaf's norm."""
    flat, held = [], []
    for value in values:
        flat.append(np.abs(value).ravel() / np.sqrt(np.sum(value * value)))
        held.append(np.arange(value.size) == np.abs(value).argmax())
    flat = np.concatenate(flat)
    order = np.lexsort((np.arange(flat.size), flat, np.concatenate(held)))
    marks = np.zeros(flat.size, bool)
    marks[order[:count]] = True
    return np.split(marks, np.cumsum([value.size for value in values])[:-1])


SCALES = {"first": ((30, 8), 1.0), "middle": ((8, 9), 0.4), "last": ((9, 3), 0.02)}


def narrow_network(dtype=jnp.float32):
    """Three layers whose weights are of unequal scale, the last the smallest."""
    keys = jax.random.split(jax.random.key(3), len(SCALES))
    return {
        name: (scale * jax.random.normal(key, shape)).astype(dtype)
        for key, (name, (shape, scale)) in zip(keys, SCALES.items(), strict=True)
    }


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_relative_empties_no_leaf_and_its_count_is_exact(dtype):
    """Where the plain global rule takes the whole last layer; up to one weight in each leaf."""
    params = narrow_network(dtype)
    names, size = sorted(params), 339

    def zeros(scope):
        rule = aeb.magnitude(lambda count: count / size, scope=scope)
        apply = jax.jit(lambda count: rule.apply(params, (), None, (), count, everywhere)[0])
        return lambda count: {
            name: np.asarray(leaf) == 0 for name, leaf in apply(jnp.float32(count)).items()
        }

    assert zeros("global")(305)["last"].all()
    found = zeros("relative")
    for count in (0, 150, 305, 336):
        marks = found(count)
        assert sum(mark.sum() for mark in marks.values()) == count
        assert not any(mark.all() for mark in marks.values())
        expected = relative([np.asarray(params[name], np.float32) for name in names], count)
        for name, marked in zip(names, expected, strict=True):
            np.testing.assert_array_equal(marks[name].ravel(), marked, err_msg=name)


def test_relative_is_global_where_the_norms_are_equal():
    params = {name: jax.random.normal(jax.random.key(i), (24, 10)) for i, name in enumerate("abc")}
    params = {name: leaf / jnp.linalg.norm(leaf) for name, leaf in params.items()}
    plain = aeb.prune(params, 0.8)
    for name, leaf in aeb.prune(params, 0.8, scope="relative").items():
        np.testing.assert_array_equal(leaf, plain[name])


def lamp(values, kept):
    """Lee et al.'s score by a sort in each leaf; marks the kept."""
    scores = []
    for value in values:
        square = np.asarray(value, np.float64).ravel() ** 2
        order = np.argsort(-square)
        score = np.empty_like(square)
        score[order] = square[order] / np.cumsum(square[order])
        scores.append(score)
    flat = np.concatenate(scores)
    marks = np.zeros(flat.size, bool)
    marks[np.argsort(-flat)[:kept]] = True
    return np.split(marks, np.cumsum([v.size for v in values])[:-1])


def test_relative_one_by_one_is_lamp():
    """The smallest weight left in a leaf has the norm of what is left for LAMP's sum."""
    params = narrow_network()
    names, size = sorted(params), 339
    rule = aeb.magnitude(lambda k: (k + 1) / size, scope="relative", regrow=False)
    apply = jax.jit(lambda *carry: rule.apply(carry[0], (), None, carry[1], carry[2], everywhere))
    mask = rule.init(params, None, everywhere)
    position = params
    for count in range(size - 10):
        position, _, mask = apply(position, mask, jnp.float32(count))
        if size - count - 1 in (200, 60, 20, 10):
            expected = lamp([params[name] for name in names], size - count - 1)
            for name, marks in zip(names, expected, strict=True):
                np.testing.assert_array_equal(np.asarray(position[name]).ravel() != 0, marks)


def test_a_leaf_of_zeros_takes_the_place_of_no_weight():
    params = narrow_network() | {"last": jnp.zeros((9, 3))}
    pruned = aeb.prune(params, 0.8, scope="relative")
    assert sum(int((leaf == 0).sum()) for leaf in pruned.values()) == round(0.8 * 339)


@pytest.mark.parametrize("rule", [aeb.inclusion, aeb.units])
def test_other_rules_take_it(rule):
    """One of each leaf stays though all of the last are the smallest; many rho tie at 1."""
    params = narrow_network()
    rho = {name: jnp.where(jnp.abs(leaf) > 0.1, 1.0, 0.3) for name, leaf in params.items()}
    kept = {}
    for scope in ("global", "relative"):
        pruned, _, _ = rule(0.85, scope=scope).apply(params, (), rho, (), 0, everywhere)
        kept[scope] = {name: np.count_nonzero(leaf) for name, leaf in pruned.items()}
    assert kept["global"]["last"] == 0
    assert kept["relative"]["last"] == (1 if rule is aeb.inclusion else 9)
    assert min(kept["relative"].values()) > 0


def test_inclusion_ranks_by_rho_then_magnitude():
    params = {"w": jnp.array([4.0, 3.0, 2.0, 1.0, 0.5])}
    rho = {"w": jnp.array([0.1, 1.0, 1.0, 1.0, 1.0])}
    pruned, _, _ = aeb.inclusion(0.4).apply(params, (), rho, (), 0, everywhere)
    assert pruned["w"].tolist() == [0.0, 3.0, 2.0, 1.0, 0.0]


def test_units_go_whole_and_compare_across_fan_in():
    params = {
        "a": jnp.array([[3.0, 0.1, 1.0], [3.0, 0.1, -1.0]]),
        "b": jnp.array([[0.5, 2.0]] * 8),
    }
    pruned, _, _ = aeb.units(0.4, scope="global").apply(params, (), None, (), 0, everywhere)
    assert (pruned["a"] == 0).all(axis=0).tolist() == [False, True, False]
    assert (pruned["b"] == 0).all(axis=0).tolist() == [True, False]
    pruned, _, _ = aeb.units(0.34).apply(params, (), None, (), 0, everywhere)
    assert int((pruned["a"] == 0).all(axis=0).sum()) == 1
    assert int((pruned["b"] == 0).all(axis=0).sum()) == round(0.34 * 2)


def test_learned_cuts_strictly_below_the_threshold_and_not_before_begin():
    params = {"w": jnp.array([4.0, 3.0, 2.0])}
    rho = {"w": jnp.array([0.5, 0.49, 0.9])}
    rule = aeb.learned(0.5, begin=3)
    before, _, _ = rule.apply(params, (), rho, (), 2, everywhere)
    after, _, _ = rule.apply(params, (), rho, (), 3, everywhere)
    assert before["w"].tolist() == [4.0, 3.0, 2.0]
    assert after["w"].tolist() == [4.0, 0.0, 2.0]


def test_a_rule_of_ones_own_needs_no_check():
    """Mutation: `pruning_rule` without a default for `check`, or with one that refuses."""

    def negative(params, sparse, rho, mask, count):
        return {path: leaf < 0 for path, leaf in sparse.items()}

    rule, params = pruning_rule(negative, regrow=False), {"w": jnp.array([4.0, -3.0])}
    mask = rule.init(params, None, everywhere)
    pruned, _, mask = rule.apply(params, (), None, mask, 0, everywhere)
    assert pruned["w"].tolist() == [4.0, 0.0]
    assert mask["w"].tolist() == [True, False]


@pytest.mark.parametrize("rule", [aeb.magnitude, aeb.inclusion, aeb.units])
def test_frozen_zeros_stay_and_their_momentum_is_cleared(rule):
    """A weight pruned at step 0 grows large, and is zero again: the mask is remembered."""
    params = {"w": jnp.array([[5.0, 0.1, 4.0, 0.2], [5.0, 0.1, 4.0, 0.2]])}
    rho = {"w": jnp.abs(params["w"]) / 10}
    sparsify = rule(0.5, regrow=False)
    mask = sparsify.init(params, rho, everywhere)
    _, momentum, mask = sparsify.apply(params, params, rho, mask, 0, everywhere)
    dead = np.array([[False, True, False, True]] * 2)
    np.testing.assert_array_equal(np.asarray(momentum["w"]) == 0, dead)
    grown = {"w": jnp.array([[1.0, 90.0, 1.0, 90.0], [1.0, 90.0, 1.0, 90.0]])}
    rho = {"w": grown["w"] / 100}
    params, momentum, mask = sparsify.apply(grown, grown, rho, mask, 1, everywhere)
    np.testing.assert_array_equal(np.asarray(params["w"]) == 0, dead)
    np.testing.assert_array_equal(np.asarray(mask["w"]), ~dead)


def test_pruned_weights_return_by_default():
    params = {"w": jnp.array([5.0, 0.1])}
    rule = aeb.magnitude(0.5)
    _, momentum, mask = rule.apply(params, params, None, (), 0, everywhere)
    assert momentum["w"].tolist() == params["w"].tolist()
    again, _, _ = rule.apply({"w": jnp.array([5.0, 90.0])}, params, None, mask, 1, everywhere)
    assert again["w"].tolist() == [0.0, 90.0]


def test_pruned_zeros_are_positive():
    assert not np.signbit(aeb.prune(jnp.array([-0.1, 3.0]), 0.5)[0])


def test_nan_is_never_hidden_by_pruning():
    assert bool(jnp.isnan(aeb.prune(jnp.array([jnp.nan, 0.1, 3.0, 4.0]), 0.75)[0]))


def test_momentum_of_another_shape_is_left_alone():
    """A thermostat beside the momentum of a bare array has its structure but not its shape."""
    rule = aeb.magnitude(0.5, regrow=False)
    params = jnp.array([1.0, 2.0])
    mask = rule.init(params, None, everywhere)
    momentum = {"r": jnp.ones(2), "xi": jnp.ones(())}
    _, momentum, _ = rule.apply(params, momentum, None, mask, 0, everywhere)
    assert momentum["r"].tolist() == [0.0, 1.0]
    assert float(momentum["xi"]) == 1.0
