# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.regression`."""

from benchmarks.regression.run import main

raise SystemExit(main())
