# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.simulation`."""

import sys

from benchmarks.simulation.run import main

if __name__ == "__main__":
    sys.exit(main())
