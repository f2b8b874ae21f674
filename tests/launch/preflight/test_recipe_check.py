"""The check of a recipe in a process of its own."""

from __future__ import annotations

import pytest

from tersely.core.errors import ConfigError
from tersely.launch.preflight.recipe_check import check_in_process


def test_the_interpreter_of_the_ranks_checks_the_recipe(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'error: checked elsewhere' >&2\nexit 2\n")
    python.chmod(0o755)
    monkeypatch.setenv("PYTHON_EXEC", str(python))
    with pytest.raises(ConfigError, match="^checked elsewhere$"):
        check_in_process(["testbed/alp"])
