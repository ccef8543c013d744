# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.demo`."""

from benchmarks.demo.run import main

raise SystemExit(main())
