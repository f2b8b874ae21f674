"""Compares installed packages and TRL's private methods with the tested ones, and runs the hardware checks."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from tersely.core.findings import Finding


def examine(deep: bool = False) -> list[Finding]:
    """All findings. A check that raises is also a finding."""
    from tersely.launch.preflight import machine

    checks: list[Any] = [versions, conflicts, trl_seams, machine.devices, machine.engines, machine.hub, machine.limits]
    checks += [machine.host_memory, machine.disk]
    if deep:
        checks.append(machine.deep)
    found: list[Finding] = []
    for check in checks:
        try:
            found += check()
        except Exception as error:  # one broken check must not hide the others
            found.append(Finding("warn", check.__name__, f"check failed ({type(error).__name__}: {error})"))
    return found


def tested() -> dict[str, dict[str, Any]]:
    """Package -> {tested, supported, needed, ...}, from configs/tested.yaml."""
    from importlib.resources import files
    from pathlib import Path

    from tersely.configs.load import read_yaml

    return read_yaml(Path(str(files("tersely.configs"))) / "tested.yaml")


def versions() -> Iterator[Finding]:
    """Check every package of the tested set: missing, outside the supported range, or another version than tested."""
    for name, row in tested().items():
        found, package = installed(name, row)
        yield judged(package, found, row)


def installed(name: str, row: Mapping[str, Any]) -> tuple[str | None, str]:
    """(version or None, name of the installed distribution)."""
    if name == "python":
        return platform.python_version(), name
    for package in filter(None, (name, row.get("also"))):
        try:
            return version(package), package
        except PackageNotFoundError:
            continue
    return None, name


def judged(name: str, found: str | None, row: Mapping[str, Any]) -> Finding:
    """Finding about one package."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    supported, best = SpecifierSet(row["supported"]), row.get("tested")
    wanted = f"{name}=={best}" if best else f"{name}{row['supported']}"
    if found is None:
        if row["needed"]:
            return Finding("fail", name, "not installed", f"pip install '{wanted}'")
        return Finding("note", name, f"not installed; needed for {row['for']}", f"pip install '{row['install']}'")
    if Version(found).public not in supported:
        fix = "use another Python version (3.11 is tested)" if name == "python" else f"pip install '{wanted}'"
        return Finding("fail", name, f"{found} is outside the supported range {row['supported']}", fix)
    if best and not _matches(found, str(best)):
        return Finding("note", name, f"{found}, tested with {best}")
    return Finding("ok", name, found if not best else f"{found}, as tested")


def trl_seams() -> Iterator[Finding]:
    """What our trainers override, call or read of TRL and transformers, against the tested releases. Neither is imported.

    transformers has a wide window of versions that are tested otherwise (tests/contracts), so a changed body there is a note.
    """
    from tersely.rl.trl.contract import REMOVED, differences, measured, recorded, trl_folder

    if trl_folder() is None:
        return
    contract = recorded()
    before = contract["seams"]
    found = differences(before, measured(set(before)))
    for seam, text in found:
        package, name = seam.partition("/")[0], seam.partition("::")[2]
        fix = f"pip install '{package}=={contract[package]}', or run tests/rl with the installed version"
        level = "fail" if text == REMOVED else "note" if package == "transformers" else "warn"
        yield Finding(level, package, f"changed since tested: {name} {text}", fix)
    if not found:
        yield Finding("ok", "trl", f"{len(before)} methods, functions and attributes that we depend on are as tested")


def _matches(found: str, best: str) -> bool:
    return found.partition("+")[0] == best or found.startswith(best + ".")


def conflicts() -> Iterator[Finding]:
    """Check the installed packages' requirements on each other; one finding per unmet requirement."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import Version

    names = [package for name, row in tested().items() for found, package in [installed(name, row)] if found]
    pairs = 0
    for package in names:
        if package == "python":
            continue
        for text in requires(package) or ():
            try:
                wish = Requirement(text)
                there = version(wish.name)
            except (InvalidRequirement, PackageNotFoundError):
                continue
            if wish.marker is not None and not wish.marker.evaluate({"extra": ""}):
                continue
            pairs += 1
            # a required local label (+cpu) must match; other labels are ignored
            if not wish.specifier.contains(Version(there), prereleases=True):
                clean = re.sub(r"\s", "", str(wish.specifier))
                yield Finding(
                    "warn",
                    package,
                    f"{version(package)} requires {wish.name}{clean}; {there} is installed",
                    f"pip install '{wish.name}{clean}'",
                )
    yield Finding("ok", "requirements", f"{pairs} requirements between installed packages are met")
