# SPDX-License-Identifier: Apache-2.0
"""Draws in ArviZ: names, shapes and order. Mutations: chains and draws swapped, a path lost."""

import numpy as np
import pytest

import aeb

DRAWS = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.filterwarnings("ignore:.*ArviZ is undergoing a major refactor:FutureWarning")
def test_chains_and_draws_are_where_arviz_looks_for_them():
    pytest.importorskip("arviz")
    tree = {"layer": {"w": DRAWS}, "b": DRAWS[..., 0]}
    found = aeb.to_arviz(tree, chains=True, dims={"layer/w": ["unit"]}).posterior
    assert found["layer.w"].dims == ("chain", "draw", "unit")
    np.testing.assert_array_equal(found["layer.w"], DRAWS)
    np.testing.assert_array_equal(found["b"], DRAWS[..., 0])
    alone = aeb.to_arviz(DRAWS[0]).posterior
    np.testing.assert_array_equal(alone["x"], DRAWS[:1])


def test_two_leaves_of_one_name_are_refused():
    pytest.importorskip("arviz")
    with pytest.raises(ValueError, match=r"^draws: two leaves have one name"):
        aeb.to_arviz({"a": {"b": DRAWS}, "a.b": DRAWS})


def test_draws_that_differ_in_number_are_refused():
    with pytest.raises(ValueError, match=r"^draws: the leaves differ in length"):
        aeb.to_arviz({"a": np.ones((2, 3)), "b": np.ones((2, 4))}, chains=True)
