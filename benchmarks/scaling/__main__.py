# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.scaling`."""

import sys

from benchmarks.scaling.run import main

if __name__ == "__main__":
    sys.exit(main())
