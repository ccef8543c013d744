# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.logistic`."""

from benchmarks.logistic.run import main

raise SystemExit(main())
