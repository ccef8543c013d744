# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` with two classes beside its rivals, on simulated designs and on real data."""
