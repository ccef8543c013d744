# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.demo`."""

import sys

from benchmarks.demo.run import main

sys.exit(main())
