# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.images.adversarial`."""

import sys

from benchmarks.images.adversarial.run import main

if __name__ == "__main__":
    sys.exit(main())
