# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.uci`."""

import sys

from benchmarks.uci.run import main

if __name__ == "__main__":
    sys.exit(main())
