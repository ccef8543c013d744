# SPDX-License-Identifier: Apache-2.0
"""One chain over several devices and processes: the same chain, and what is sent for it."""
