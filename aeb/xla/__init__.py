# SPDX-License-Identifier: Apache-2.0
"""What works around XLA, and nothing else.

Each file does what a line of JAX does, with the same result, because at the versions it names XLA
compiles that line to something much slower. It says what was gained, and `tests/xla/` says when it
can go: each file has a test that looks at what XLA makes of the plain line today, and fails once
XLA makes something better of it.

    threefry      normals from counters, drawn where the weights lie
    threshold     the k smallest of many numbers, without a sort
    parts         pieces of an array that share one program
    sums          several sums in one pass
    normalization the moments of BatchNorm, image after image
    convolution   gradients in XLA's fast layout, or as products
    pooling       a maximum whose gradient is elementwise
    compilation   the options of `jax.jit` under which a CPU runs fast

The sampler's own passes use them, and the networks of `aeb.models`; a network of yours never meets
them unless you hand it `conv_general_dilated`.
"""
