# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.uci`."""

import sys

from benchmarks.uci.run import main

sys.exit(main())
