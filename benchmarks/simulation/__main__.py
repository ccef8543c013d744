# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.simulation`."""

from benchmarks.simulation.run import main

raise SystemExit(main())
