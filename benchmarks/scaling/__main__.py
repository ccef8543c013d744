# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.scaling`."""

from benchmarks.scaling.run import main

raise SystemExit(main())
