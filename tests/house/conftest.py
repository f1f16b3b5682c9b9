"""Tools that a machine may lack."""

import os
import shutil

import pytest


@pytest.fixture
def promtool_installed():
    """Goes on only where Debian's ``prometheus`` is installed, as .ci/run does it; in CI it must be."""
    if shutil.which("promtool") is None:
        assert not os.environ.get("CI"), "CI must have promtool: .ci/run installs it"
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
