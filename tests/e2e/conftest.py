"""A launcher of runs for each test, and one for each file."""

from __future__ import annotations

import pytest
from support.launcher import Launcher

WARM = """
import os, sys
if "tersely.launch.cli.serve" in sys.orig_argv:
    sys.executable = os.environ["WARM_VLLM"]
"""


@pytest.fixture
def launcher(tmp_path, warm_python) -> Launcher:
    return Launcher(tmp_path, warm_python)


@pytest.fixture(scope="module")
def shared_launcher(tmp_path_factory, warm_python) -> Launcher:
    return Launcher(tmp_path_factory.mktemp("runs"), warm_python)


@pytest.fixture
def warm_servers(launcher, warm_vllm, monkeypatch) -> None:
    """The vLLM that the command of a server becomes starts with its modules loaded."""
    (launcher.folder / "path").mkdir()
    (launcher.folder / "path" / "sitecustomize.py").write_text(WARM)
    monkeypatch.setenv("PYTHONPATH", str(launcher.folder / "path"))
    monkeypatch.setenv("WARM_VLLM", warm_vllm)
