# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.speed`."""

from benchmarks.speed.run import main

raise SystemExit(main())
