# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.selection`."""

import sys

from benchmarks.selection.run import main

if __name__ == "__main__":
    sys.exit(main())
