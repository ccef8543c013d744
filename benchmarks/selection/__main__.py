# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.selection`."""

import sys

from benchmarks.selection.run import main

sys.exit(main())
