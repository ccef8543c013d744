# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.simulation`."""

import sys

from benchmarks.simulation.run import main

sys.exit(main())
