# SPDX-License-Identifier: Apache-2.0
"""Names of leaves. Mutations: `value` stripped from the user's own keys, None taken for a leaf."""

import jax.numpy as jnp
import pytest

from aeb.tree import named_leaves, replace_leaves, select


def test_a_bare_array_is_named_by_nothing_and_is_sparse():
    assert list(select(jnp.ones(2))) == [""]


def test_the_users_own_value_key_stays():
    tree = {"attention": {"value": {"kernel": jnp.ones(1)}, "key": jnp.ones(1)}, "value": 1.0}
    assert list(named_leaves(tree)) == ["attention/key", "attention/value/kernel", "value"]


def test_params_is_taken_off_only_where_it_is_the_root():
    assert list(named_leaves({"params": {"w": 1.0}, "other": 2.0})) == ["other", "params/w"]
    assert list(named_leaves({"params": jnp.ones(1)})) == ["params"]


def test_sequences_none_and_order():
    tree = {"b": [1.0, None, (2.0,)], "a": 0.0}
    assert named_leaves(tree) == {"a": 0.0, "b/0": 1.0, "b/2/0": 2.0}
    assert replace_leaves(tree, {"b/2/0": 5.0}) == {"b": [1.0, None, (5.0,)], "a": 0.0}


def test_default_rule_leaves_out_bias_and_scale_by_their_last_name():
    tree = {"bias": {"kernel": 1.0}, "bn": {"scale": 2.0, "bias": 3.0}, "rescale": 4.0}
    assert list(select(tree)) == ["bias/kernel", "rescale"]


def test_two_leaves_of_one_name_are_refused():
    with pytest.raises(ValueError, match="share the path 'a/b'"):
        named_leaves({"a/b": 1.0, "a": {"b": 2.0}})
