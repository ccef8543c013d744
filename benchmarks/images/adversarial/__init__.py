# SPDX-License-Identifier: Apache-2.0
"""The networks of `benchmarks.images.classification` under FGSM and PGD."""
