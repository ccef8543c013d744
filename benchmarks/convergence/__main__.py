# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.convergence`."""

from benchmarks.convergence.run import main

raise SystemExit(main())
