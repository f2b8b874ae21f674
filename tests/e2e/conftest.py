"""A launcher of runs for each test, and one for each file."""

from __future__ import annotations

import pytest
from support.launcher import Launcher


@pytest.fixture
def launcher(tmp_path, warm_python) -> Launcher:
    return Launcher(tmp_path, warm_python)


@pytest.fixture(scope="module")
def shared_launcher(tmp_path_factory, warm_python) -> Launcher:
    return Launcher(tmp_path_factory.mktemp("runs"), warm_python)
