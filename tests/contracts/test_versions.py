"""One file says which versions are meant; pyproject and the contracts agree with it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tersely.launch.preflight import doctor

ROOT = Path(__file__).parents[2]
TESTED = doctor.tested()


def declared() -> dict[str, SpecifierSet]:
    """Every requirement of pyproject by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return {one.name: one.specifier for one in map(Requirement, listed)}


@pytest.mark.parametrize("name", [name for name in TESTED if name != "python"])
def test_pyproject_declares_the_window(name):
    assert declared()[name] == SpecifierSet(TESTED[name]["supported"])
    assert TESTED[name]["tested"] is None or str(TESTED[name]["tested"]) in SpecifierSet(TESTED[name]["supported"])


@pytest.mark.parametrize("name", [name for name in TESTED if "contracts" in TESTED[name]])
def test_contracts_cover_the_window(name):
    """From its floor on, every minor release, the tested version among them; those beyond it are beyond it."""
    row = TESTED[name]
    window, listed = SpecifierSet(row["supported"]), [Version(str(version)) for version in row["contracts"]]
    assert listed == sorted(listed) and all(version in window for version in listed)
    assert Version(str(row["tested"])) in listed and not any(str(one) in window for one in row.get("beyond", ()))
    minors = [version.minor for version in listed]
    assert minors == list(range(minors[0], minors[-1] + 1)) and f">={listed[0].major}.{minors[0]}" in row["supported"]


def table() -> str:
    """The versions as docs/launch.md shows them."""
    lines = ["| package | window | tested | contracts run with |", "|---|---|---|---|"]
    for name, row in TESTED.items():
        if row["tested"] is not None:
            ran = ", ".join(map(str, [*row.get("contracts", ()), *row.get("beyond", ())]))
            lines.append(f"| {name} | `{row['supported']}` | {row['tested']} | {ran} |")
    return "\n".join(lines)


def test_the_docs_have_the_table():
    assert table() in (ROOT / "docs" / "launch.md").read_text(), f"docs/launch.md must have:\n{table()}"
