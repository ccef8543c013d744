# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.convergence`."""

import sys

from benchmarks.convergence.run import main

if __name__ == "__main__":
    sys.exit(main())
