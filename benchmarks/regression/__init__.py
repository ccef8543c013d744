# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` beside the lasso, MCP and the horseshoe, on simulated regressions."""
