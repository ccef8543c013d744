# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.compression`."""

import sys

from benchmarks.compression.run import main

sys.exit(main())
