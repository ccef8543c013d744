# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.images.classification`."""

from benchmarks.images.classification.run import main

raise SystemExit(main())
