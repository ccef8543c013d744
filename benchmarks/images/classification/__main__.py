# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.images.classification`."""

import sys

from benchmarks.images.classification.run import main

sys.exit(main())
