# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.convergence`."""

import sys

from benchmarks.convergence.run import main

sys.exit(main())
