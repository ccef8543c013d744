# SPDX-License-Identifier: Apache-2.0
"""The convolution's own gradients against JAX's, and the pooling, in float64."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from aeb.models import conv_general_dilated, max_pool
from aeb.xla import convolution
from aeb.xla.compilation import collapses_in_a_loop, compiler_options

FLAX = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NHWDC", "HWDIO", "NHWDC")}
# Other backends take JAX's convolution as it is: its layouts and messages are not ours to check.
CPU = pytest.mark.skipif(jax.default_backend() != "cpu", reason="JAX's own convolution elsewhere")


def arrays(key, images, kernels, dtype=jnp.float64):
    keys = jax.random.split(key)
    return [jax.random.normal(k, s, dtype) for k, s in zip(keys, (images, kernels), strict=True)]


@pytest.mark.parametrize(
    ("image", "count", "kernel", "stride", "dilation", "padding"),
    [
        ((8, 7), 3, (3, 3), 1, 1, "SAME"),
        ((8, 7), 3, (3, 3), 2, 1, ((1, 1), (1, 1))),
        ((9, 11), 2, (1, 1), 2, 1, "VALID"),
        ((9, 8), 5, (4, 2), 3, 1, ((0, 3), (2, 0))),  # rows that are never seen
        ((9, 8), 2, (2, 3), 2, 2, ((5, 1), (0, 2))),  # padding beyond the kernel
        ((9, 8), 1, (3, 2), 1, 2, "SAME"),
        ((11,), 5, (3,), 2, 2, "SAME"),
        ((4, 5, 6), 3, (2, 3, 1), 2, 1, "SAME"),
    ],
)
def test_gradients_are_those_of_jax(image, count, kernel, stride, dilation, padding, key):
    """Fails if a padding, a stride, a flip or an exchange of axes is off."""
    axes = len(image)
    options = {
        "window_strides": (stride,) * axes,
        "padding": padding,
        "rhs_dilation": (dilation,) * axes,
        "dimension_numbers": FLAX[axes],
    }
    with jax.enable_x64(True):
        x, w = arrays(key, (count, *image, 3), (*kernel, 3, 2))
        results = []
        for convolve in (jax.lax.conv_general_dilated, conv_general_dilated):
            y, pullback = jax.vjp(partial(convolve, **options), x, w)
            results.append((y, *pullback(jnp.cos(y))))
        for expected, found in zip(*results, strict=True):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@CPU
@pytest.mark.parametrize(
    ("image", "count", "kernel", "padding", "dtype"),
    [
        ((8, 7), 3, (3, 3), "SAME", jnp.float64),
        ((9, 8), 6, (4, 2), ((0, 3), (2, 0)), jnp.float64),
        ((6, 5), 4, (1, 1), "VALID", jnp.float64),
        ((6, 5), 7, (2, 3), "VALID", jnp.float64),
        ((7, 8), 2, (2, 3), ((3, 2), (0, 4)), jnp.float64),  # padding beyond the kernel
        ((8, 7), 4, (3, 3), "SAME", jnp.bfloat16),
    ],
)
def test_on_one_device_the_kernel_gradient_is_a_product(
    image, count, kernel, padding, dtype, key, monkeypatch
):
    """Fails if a row meets the wrong row, the padding is off, or a block of images is left out."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(convolution, "BLOCK", 2**14)
    options = {"window_strides": (1, 1), "padding": padding, "dimension_numbers": FLAX[2]}
    with jax.enable_x64(True):
        x, w = arrays(key, (count, *image, 3), (*kernel, 3, 2), dtype)
        wide = [array.astype(jnp.float64) for array in (x, w)]
        y, expected = jax.vjp(partial(jax.lax.conv_general_dilated, **options), *wide)
        gradient = jnp.cos(y)
        _, pullback = jax.vjp(partial(conv_general_dilated, **options), x, w)
        jaxpr = str(jax.make_jaxpr(pullback)(gradient.astype(dtype)))
        assert jaxpr.count("conv_general_dilated[") == 1  # that of the images
        assert "while" in jaxpr or "scan" in jaxpr
        found = pullback(gradient.astype(dtype))[1]
        assert found.dtype == dtype
        close = (
            1e-11 if dtype == jnp.float64 else 0.02 * float(jnp.abs(expected(gradient)[1]).max())
        )
        np.testing.assert_allclose(
            found.astype(jnp.float64), expected(gradient)[1], rtol=0, atol=close
        )


@CPU
@pytest.mark.optimised
def test_onednn_does_outputs_and_image_gradients(key, monkeypatch):
    """Fails if the option is dropped, renamed by jaxlib, or takes the kernel gradient too."""
    if "xla_cpu_experimental_onednn_custom_call" not in compiler_options():
        pytest.skip("oneDNN's convolutions came with jaxlib 0.12")
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    x, w = arrays(key, (20, 16, 16, 16), (3, 3, 16, 32), jnp.float32)

    def three(x, w, convolve):
        y, pullback = jax.vjp(
            lambda x, w: convolve(x, w, (1, 1), "SAME", dimension_numbers=FLAX[2]), x, w
        )
        return y, *pullback(jnp.cos(y))

    def looped(x, w):
        start = (jnp.zeros((*x.shape[:-1], w.shape[-1])), jnp.zeros_like(x), jnp.zeros_like(w))
        return jax.lax.fori_loop(
            0, 2, lambda _, old: three(x + 0 * old[1], w, conv_general_dilated), start
        )

    program = jax.jit(looped, compiler_options=compiler_options())
    text = program.lower(x, w).compile().as_text()
    assert text.count('custom_call_target="__onednn$convolution"') == 2
    plain = jax.jit(partial(three, convolve=jax.lax.conv_general_dilated))
    for found, expected in zip(program(x, w), plain(x, w), strict=True):
        most = float(jnp.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * most)


@pytest.mark.slow
def test_second_derivatives_are_those_of_jax(key):
    """Fails if reverse over reverse, or forward over reverse, does not pass through the rule."""
    with jax.enable_x64(True):
        x, w = arrays(key, (3, 5, 4, 2), (3, 3, 2, 2))

        def curvature(convolve, outer):
            def loss(w):
                y = convolve(x, w, (1, 1), "SAME", dimension_numbers=FLAX[2])
                return jnp.sum(jnp.tanh(y))

            return outer(jax.grad(loss))(w)

        expected = curvature(jax.lax.conv_general_dilated, jax.jacfwd)
        for outer in (jax.jacfwd, jax.jacrev):
            found = curvature(conv_general_dilated, outer)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "others",
    [
        {"feature_group_count": 2},
        {"lhs_dilation": (2, 2)},
        {"preferred_element_type": jnp.float32, "dtype": jnp.bfloat16},
        {"dimension_numbers": ("NHWC", "OHWI", "NHWC")},
    ],
)
def test_what_the_rule_does_not_cover_is_jaxs(others, key):
    """Fails if groups, a spread input, another layout or dtype are dropped on the way."""
    others = {"dimension_numbers": FLAX[2]} | others
    groups, dtype = others.get("feature_group_count", 1), others.pop("dtype", jnp.float32)
    kernels = (3, 3, 4 // groups, 4)
    if others["dimension_numbers"] != FLAX[2]:
        kernels = (4, 3, 3, 4)
    x, w = arrays(key, (2, 6, 6, 4), kernels, dtype)
    found, expected = (
        jax.vjp(lambda x, w, f=f: f(x, w, (1, 1), [(1, 0), (0, 1)], **others), x, w)
        for f in (conv_general_dilated, jax.lax.conv_general_dilated)
    )
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[0].dtype == expected[0].dtype
    for a, b in zip(found[1](found[0]), expected[1](expected[0]), strict=True):
        np.testing.assert_array_equal(a.astype(jnp.float32), b.astype(jnp.float32))


@pytest.mark.slow
def test_chains_and_low_precision_pass_through(key):
    """Fails if vmap mixes the chains, or a gradient comes back as float32."""
    x, w = arrays(key, (70, 6, 6, 2), (3, 3, 3, 2, 4), jnp.float32)

    def gradient(w, x):
        def loss(w):
            y = conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=FLAX[2])
            return y.astype(jnp.float32).mean()

        return jax.grad(loss)(w)

    each = jnp.stack([gradient(row, x) for row in w])
    np.testing.assert_allclose(jax.vmap(gradient, (0, None))(w, x), each, rtol=0, atol=1e-6)
    low = gradient(w[0].astype(jnp.bfloat16), x.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), each[0], atol=0.01)


FAST = "b01f_01io->b01f"
"""How the compiled program writes the layout that XLA convolves fast in."""


def layouts(text):
    """List the layouts of the convolutions of a compiled program."""
    return re.findall(r" convolution\(.*?dim_labels=(\S+?)[, ]", text)


@CPU
@pytest.mark.optimised
def test_a_loop_keeps_the_convolutions_in_the_fast_layout(key):
    """Fails if a gradient is left to JAX, or its transposes compute the ReLU before it anew.

    And fails once XLA converts the gradients of JAX's convolution in a loop too, as it does outside
    of one; the workaround may go then. Mutation: steps of `descend` that are in no loop.
    """
    x, w = arrays(key, (40, 8, 8, 3), (3, 3, 3, 4), jnp.float32)

    def descend(convolve):
        def loss(kernels):
            y = x
            for kernel in kernels:
                y = convolve(y, kernel, (1, 1), "SAME", dimension_numbers=FLAX[2])
                y = jnp.maximum(y, 0.0)
            return jnp.sum(y**2)

        def step(_, kernels):
            return jax.tree.map(jnp.subtract, kernels, jax.grad(loss)(kernels))

        return jax.jit(lambda kernels: jax.lax.fori_loop(0, 3, step, kernels))

    kernels = (w, jnp.ones((3, 3, 4, 5)))
    plain = descend(jax.lax.conv_general_dilated)
    assert set(layouts(plain.lower(kernels).compile().as_text())) > {FAST}, (
        "XLA converts the gradients of JAX's convolution to its fast layout in a loop too. Measure "
        "anew; `collapses_in_a_loop` and the layouts of `aeb/xla/convolution.py` may go."
    )
    assert collapses_in_a_loop(plain, kernels)
    ours = descend(conv_general_dilated)
    assert not collapses_in_a_loop(ours, kernels)
    text = ours.lower(kernels).compile().as_text()
    assert layouts(text) == [FAST] * 5  # forward twice, both kernels, the image between
    programs = text.split("\n\n")
    assert any(" transpose(" in program for program in programs)
    assert not [p for p in programs if " transpose(" in p and " maximum(" in p]


@CPU
@pytest.mark.optimised
@pytest.mark.slow
def test_a_gradient_sums_over_devices_once(key):
    """Fails if images on several devices are gathered, or shard_map refuses the gradient."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, w = arrays(key, (4, 6, 6, 2), (3, 3, 2, 3), jnp.float32)

    def gradient(w, x):
        def loss(w):
            y = conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=FLAX[2])
            return jnp.sum(jnp.tanh(y))

        return jax.grad(loss)(w)

    one, each = jax.P(), jax.P("data")
    mapped = jax.shard_map(gradient, mesh=mesh, in_specs=(one, each), out_specs=one)
    np.testing.assert_allclose(mapped(w, x), gradient(w, x), rtol=0, atol=1e-4)
    places = [jax.sharding.NamedSharding(mesh, spec) for spec in (one, each)]
    text = jax.jit(gradient, in_shardings=places, out_shardings=places[0]).lower(w, x).compile()
    sent = re.findall(r" = (\S+) (all-\w+|collective-\w+)\(", text.as_text())
    assert sent == [("f32[2,3,3,3]{3,2,1,0}", "all-reduce")]  # all of w, channels first


@CPU
@pytest.mark.optimised
def test_the_options_switch_the_other_library_off(key):
    """Fails if jaxlib no longer takes the option, or gives a convolution away all the same.

    And fails once there is nothing to switch off in a jaxlib that was measured.
    """
    x, w = arrays(key, (4, 16, 16, 32), (3, 3, 32, 32), jnp.float32)
    convolve = partial(
        conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=FLAX[2],
    )
    before, after = (
        jax.jit(convolve, compiler_options=options).lower(x, w).compile().as_text()
        for options in (None, compiler_options())
    )
    if not compiler_options():
        pytest.skip(f"jaxlib {jaxlib.__version__} is newer than those that were measured")
    assert "ynn" in before, (
        f"jaxlib {jaxlib.__version__} passes no convolution to YNNPACK. The option that switches "
        "it off in `aeb/xla/compilation.py` may go for this version, if it takes no sums either."
    )
    assert "ynn" not in after


def test_pooling_takes_whole_squares_and_shares_ties():
    """Fails if the rest is not dropped, the axes are mixed, or a tie gets the gradient twice."""
    x = jax.random.normal(jax.random.key(0), (2, 7, 5, 3))
    expected = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    np.testing.assert_array_equal(max_pool(x, 2), expected)
    assert max_pool(x, 3).shape == (2, 2, 1, 3)
    gradient = jax.grad(lambda x: max_pool(x, 2).sum())(
        jnp.array([[1.0, 3], [3, 2]])[None, :, :, None]
    )
    assert gradient.ravel().tolist() == [0, 0.5, 0.5, 0]
