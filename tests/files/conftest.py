# SPDX-License-Identifier: Apache-2.0
"""What the tests of files share."""

import subprocess
import sys

import pytest


@pytest.fixture
def written_twice(tmp_path):
    """Make `written_twice(code, *orders)`: the bytes that a process of its own writes by each.

    The code finds the path in `sys.argv[1]` and the names, in one order or another, in `names`.
    """

    def write(code, *orders):
        for number, order in enumerate(orders):
            whole = f"import sys; names = sys.argv[2].split(); {code}"
            path = tmp_path / str(number)
            subprocess.run([sys.executable, "-c", whole, path, order], check=True)
            yield path.read_bytes()

    return write
