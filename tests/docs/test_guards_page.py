"""The table of docs/guards.md is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from tersely.configs.guards import Guards
from tersely.rl.guards.registry import guards_of

PAGE = (Path(__file__).parents[2] / "docs" / "guards.md").read_text()


def test_thresholds_patience_and_actions_are_the_defaults():
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\d.]*) ?\| (\d*) ?\| (\w+) \|$", PAGE, flags=re.MULTILINE)
    told = {name: (float(t) if t else None, int(p) if p else None, action) for name, t, p, action in rows}
    there = {
        name: (getattr(guard.spec, "threshold", None), getattr(guard.spec, "patience", None), guard.spec.action)
        for name, guard in guards_of(Guards()).items()
    }
    assert told == there
    assert len(there) == 14 and "watched by fourteen guards" in PAGE
