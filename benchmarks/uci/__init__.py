# SPDX-License-Identifier: Apache-2.0
"""UCI regressions by a small network: the six arms of the paper's poster, and ours."""
