# SPDX-License-Identifier: Apache-2.0
"""Compression of a ResNet: what it costs in accuracy to set most of its weights to zero.

recipe      size, the authors' settings, ours
network     images, network and losses of a size
released    the authors' sparse stage
arms        what each arm is, and the stage that runs it
training    a run of one arm, in slices that resume
scores      what is measured of a network and of a step
table       what is read off the rows, and the tables of it
"""
