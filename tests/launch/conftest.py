"""Commands of a launcher, which check a recipe in a process of its own."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest

from tersely.launch.preflight import recipe_check


@pytest.fixture(autouse=True)
def warm_recipe_check(request, monkeypatch):
    """That process starts with TRL loaded, which takes ten seconds otherwise."""

    def run(command, **options):
        python = command[0] if "PYTHON_EXEC" in os.environ else request.getfixturevalue("warm_python")
        return subprocess.run([python, *command[1:]], **options)

    warm = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(recipe_check, "subprocess", warm)
