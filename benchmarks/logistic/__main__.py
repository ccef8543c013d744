# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.logistic`."""

import sys

from benchmarks.logistic.run import main

sys.exit(main())
