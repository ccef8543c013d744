# SPDX-License-Identifier: Apache-2.0
"""What a step costs: a module a section, each with its settings, its rows and its contenders."""
