# SPDX-License-Identifier: Apache-2.0
"""ResNet20 made sparse: runs `compress.py`.

Python 3.14 has a package `compression`, which this file hides from all that is run from this
folder, JAX included. So it holds nothing, and where it is imported it leads on to that package.
"""

import importlib
import os
import sys

if __name__ == "__main__":
    sys.exit(importlib.import_module("compress").main())

__path__ = [os.path.join(os.path.dirname(os.__file__), "compression")]
