"""The lists of shipped recipes and data sets."""

from __future__ import annotations

import pytest
import yaml

from tersely.configs.load import list_recipes
from tersely.core.errors import SpecError
from tersely.data import entry_names
from tersely.launch.cli import listings


@pytest.mark.parametrize(("command", "names"), [(listings.recipes, list_recipes()), (listings.datasets, entry_names())])
def test_every_name_has_a_line_and_a_file(capsys, command, names):
    assert command([]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == names and all(len(row.split()) > 3 for row in rows)
    assert command(["--names"]) == 0 and capsys.readouterr().out.split() == names
    assert command([names[0]]) == 0 and yaml.safe_load(capsys.readouterr().out)
    with pytest.raises(SpecError, match=f"'{names[0]}x' is not shipped; did you mean '{names[0]}'"):
        command([f"{names[0]}x"])
