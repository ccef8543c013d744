# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` beside its rivals, on many simulated designs and on real data."""
