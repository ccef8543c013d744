# SPDX-License-Identifier: Apache-2.0
"""The comparison of `aeb demo` as rows, one a seed."""
