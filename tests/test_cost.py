# SPDX-License-Identifier: Apache-2.0
"""A guard on what a step costs, by counts that the compiler makes: no clock.

Counted for the sampler alone (noise, adaptation, pruning at each step) on 100,000 weights in four
leaves: how often it is traced, and of the compiled program the floating-point operations a weight,
the temporaries, and the bytes read or written, in units of the weights' own bytes. Loops (the
search for the threshold) count once, whatever their length. What the units are worth is checked in
the same run on a program whose counts are known: one pass over the state, 5 arrays read and written
and the gradient read, 11 units.

A pass that is added shows as bytes (at least 1 unit to read, 2 to write) or, where the compiler
merges it with another, as an operation a weight. Tried, on jax 0.10.2 and 0.12.0 alike: a sum of
cos(rho) over all weights, kept in the loss, adds 1 to 3 units of bytes and fails
`test_bytes_and_operations`; a second draw of the normals adds {second} operations; a copy of the
weights kept for the end of the step adds 1 unit of temporaries and fails `test_temporaries`.

To update: a change that is meant to cost more, or less, moves the numbers of `COUNTED` to what the
failing assertion printed; say in the commit what was added and why. Lower them when a change saves
something, or the saving can be lost unseen. CEILING is the room for what differs between versions
of XLA, less than one pass.
"""
