# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.scaling`."""

import sys

from benchmarks.scaling.run import main

sys.exit(main())
