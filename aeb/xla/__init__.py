# SPDX-License-Identifier: Apache-2.0
"""Workarounds for XLA, and nothing else.

Each file replaces a line of JAX, with the same result, because the XLA versions that it names
compile that line to something much slower. The file says what is gained. Its test in `tests/xla/`
says when it can go: the test looks at what XLA makes of the plain line today, and fails once XLA
makes something better of it.

    threefry      normals from counters, drawn on the device of the weights
    threshold     the k smallest of many numbers, without a sort
    parts         pieces of an array that share one program
    sums          several sums in one pass
    normalization the moments of BatchNorm, image after image
    convolution   gradients in XLA's fast layout, or as products
    pooling       a maximum whose gradient is elementwise
    compilation   the options of `jax.jit` under which a CPU runs fast

The sampler itself and the networks of `aeb.models` use them. Your own network does not, unless you
pass `conv_general_dilated` to it.
"""
