# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.uci`."""

from benchmarks.uci.run import main

raise SystemExit(main())
