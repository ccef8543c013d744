# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.speed`."""

import sys

from benchmarks.speed.run import main

sys.exit(main())
