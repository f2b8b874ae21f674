"""The verifier audit of a run: audit.jsonl, one line a second opinion on a verdict, shown where it exists.

Keys of a line, all optional but `verdict`: benchmark, problem_id, sample, gold, answer, verdict (the verifier's), second (the
second opinion's: right | wrong | undecided), reason. Disagreements are listed, agreements counted.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

FILE = "audit.jsonl"
LISTED = 200


def read_audit(folder: Path | None) -> dict[str, Any] | None:
    """{"checked", "agreed", "pairs": [(verdict, second, count)], "disagreements": [...], "unreadable"}; None without a file."""
    path = folder / FILE if folder else None
    if path is None or not path.is_file():
        return None
    rows, unreadable = [], 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                unreadable += 1
    pairs = Counter((str(row.get("verdict")), str(row.get("second", "-"))) for row in rows)
    differing = [row for row in rows if "second" in row and row["second"] != row.get("verdict")]
    return {
        "checked": len(rows),
        "agreed": len(rows) - len(differing),
        "unreadable": unreadable,
        "pairs": [(*pair, n) for pair, n in sorted(pairs.items())],
        "disagreements": [
            {
                key: _short(row.get(key))
                for key in ("benchmark", "problem_id", "gold", "answer", "verdict", "second", "reason")
            }
            for row in differing[:LISTED]
        ],
        "left_out": max(0, len(differing) - LISTED),
    }


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 300 else text[:299] + "\N{HORIZONTAL ELLIPSIS}"
