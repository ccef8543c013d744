# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.regression`."""

import sys

from benchmarks.regression.run import main

sys.exit(main())
