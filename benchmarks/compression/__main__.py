# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.compression`."""

from benchmarks.compression.run import main

raise SystemExit(main())
