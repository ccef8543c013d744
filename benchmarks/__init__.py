# SPDX-License-Identifier: Apache-2.0
"""The experiments; `python -m benchmarks.uci --preset smoke` runs one, `--help` tells more."""
