"""The lists of shipped recipes and data sets."""

from __future__ import annotations

import pytest
import yaml

from tersely.configs.dataset import read_entry
from tersely.configs.load import list_recipes
from tersely.core.errors import ConfigError
from tersely.data import entry_names
from tersely.launch.cli import eval as evaluation
from tersely.launch.cli import listings


@pytest.mark.parametrize(("command", "names"), [(listings.recipes, list_recipes()), (listings.datasets, entry_names())])
def test_every_name_has_a_line_and_a_file(capsys, command, names):
    assert command([]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines()[1:] if not line.startswith(" ")]
    assert [row.split()[0] for row in rows] == names and all(len(row.split()) > 3 for row in rows)
    assert command(["--names"]) == 0 and capsys.readouterr().out.split() == names
    assert command([names[0]]) == 0 and yaml.safe_load(capsys.readouterr().out)
    with pytest.raises(ConfigError, match=f"'{names[0]}x'; did you mean '{names[0]}'"):
        command([f"{names[0]}x"])


@pytest.mark.parametrize(
    ("kind", "command"),
    [("datasets", lambda: listings.datasets([])), ("benchmarks", lambda: evaluation.main(["--list"]))],
)
def test_pitfalls_stand_below_what_they_are_about(capsys, kind, command):
    assert command() == 0
    found: dict[str, list[str]] = {}
    name = ""
    for line in capsys.readouterr().out.splitlines():
        if line.strip().startswith("pitfall: "):
            found[name].append(line.partition("pitfall: ")[2])
        else:
            name = line.split()[0]
            found[name] = []
    assert any(found.values())
    assert all(found[name] == read_entry(name, kind).get("pitfalls", []) for name in entry_names(kind))
