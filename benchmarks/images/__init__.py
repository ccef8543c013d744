# SPDX-License-Identifier: Apache-2.0
"""MNIST and Fashion-MNIST: networks trained by several arms, and the same under attack."""
