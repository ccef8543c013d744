# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.selection`."""

from benchmarks.selection.run import main

raise SystemExit(main())
