# SPDX-License-Identifier: Apache-2.0
"""`python -m aeb`."""

import sys

from aeb.cli import main

sys.exit(main())
