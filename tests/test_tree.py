# SPDX-License-Identifier: Apache-2.0
"""Names of leaves.

Mutations: `value` stripped from the user's own keys, None taken for a leaf, statistics chosen.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import aeb
from aeb.tree import named_leaves, replace_leaves, select, statistics


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


def test_the_value_of_a_variable_is_taken_off_wherever_it_stands():
    """A field of the user's own that is named `value` stays, beside it too."""

    class Own(NamedTuple):
        value: Any

    tree = {"net": nnx.state(nnx.Linear(1, 1, rngs=nnx.Rngs(0))), "own": Own(1.0)}
    assert list(named_leaves(tree)) == ["net/bias", "net/kernel", "own/value"]
    assert list(named_leaves(Own(1.0))) == ["value"]
    shapes = jax.eval_shape(lambda: tree["net"])
    assert list(named_leaves(shapes)) == ["bias", "kernel"]


@pytest.mark.parametrize(
    ("tree", "left"),
    [
        ({"params": {"w": 1.0}, "batch_stats": {"w": 2.0}}, ["batch_stats/w"]),
        ({"one": {"params": {"w": 1.0}, "cache": {"w": 2.0}}, "two": 3.0}, ["one/cache/w"]),
        ({"params": {"w": 1.0}, "steps": 2.0}, ["steps"]),
        ({"batch_stats": {"w": 2.0}, "cache": {"w": 1.0}}, []),  # nothing else: asked for
        ({"params": 1.0, "w": 2.0}, []),  # a weight that is called params
        ({"params": [1.0], "w": 2.0}, []),
    ],
)
def test_what_stands_beside_the_parameters_of_linen_is_no_parameter(tree, left):
    assert list(statistics(tree)) == left
    assert list(select(tree, ".*")) == [path for path in named_leaves(tree) if path not in left]


def test_variables_of_nnx_beside_a_param_are_no_parameters():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.params = nnx.Param(jnp.ones(1))
            self.norm = nnx.BatchNorm(2, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

    state = nnx.state(Net(nnx.Rngs(0)))
    left = ["dropout/rngs/count", "dropout/rngs/key", "norm/mean", "norm/var"]
    assert list(statistics(state)) == left
    assert list(select(state, ".*")) == ["norm/bias", "norm/scale", "params"]
    alone = nnx.state(Net(nnx.Rngs(0)), nnx.BatchStat)
    assert statistics(alone) == {}
    assert list(select(alone)) == ["norm/mean", "norm/var"]


def test_a_state_is_short_in_a_session():
    """Mutations: the repr of a NamedTuple; donated, traced or abstract arrays read for it."""
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.spike_slab(v0=0.1, v1=1.0))
    params = {"kernel": jnp.eye(40), "bias": jnp.zeros(40)}
    state = algorithm.init(params)
    numbers = "1,640 numbers"
    zeros = f"position=<{numbers}, 1,600 of them zero>)"
    assert repr(state) == f"State(step=0, loss=inf, {zeros}"
    chains = jax.vmap(algorithm.init)(jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), params))
    assert "step=<3 numbers, 3 of them zero>" in repr(chains)
    texts = [repr(jax.eval_shape(lambda: state)), repr(jax.tree.map(lambda _: None, state))]
    jax.jit(lambda state: texts.append(repr(state)) or 0)(state)
    state.position["bias"].delete()
    texts.append(repr(state))
    assert [numbers in text for text in texts] == [True, False, True, True]
    assert all("of them zero" not in text for text in texts)
    assert repr(algorithm) == "Algorithm(init, transition, likelihood='categorical')"
