# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.images.adversarial`."""

import sys

from benchmarks.images.adversarial.run import main

sys.exit(main())
