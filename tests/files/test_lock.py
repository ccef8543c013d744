# SPDX-License-Identifier: Apache-2.0
"""A lock on a folder."""

import sys

import pytest

from aeb.files.lock import alone


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl, and so no lock")
def test_a_folder_is_for_one_process(tmp_path):
    """Mutations: no lock, one that is shared, one that is not let go."""
    with (
        alone(tmp_path),
        pytest.raises(BlockingIOError, match=r"^out: another process is at work in"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass
