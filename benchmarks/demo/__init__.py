# SPDX-License-Identifier: Apache-2.0
"""The comparison of `aeb demo`: a small CNN on the 8x8 digits, compressed by every arm."""
