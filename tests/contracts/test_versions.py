"""One file says which versions are meant; pyproject and the contracts agree with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tersely.launch import doctor

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


def test_contracts_cover_the_window_of_vllm():
    vllm = TESTED["vllm"]
    window, listed = SpecifierSet(vllm["supported"]), [Version(str(version)) for version in vllm["contracts"]]
    assert listed == sorted(listed) and all(version in window for version in listed)
    assert Version(str(vllm["tested"])) in listed and not any(str(version) in window for version in vllm["beyond"])
    minors = [version.minor for version in listed]
    assert minors == list(range(minors[0], minors[-1] + 1)) and f">=0.{minors[0]}" in vllm["supported"]
