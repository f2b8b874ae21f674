"""Verifier audit of a run: compares its verdicts with a second grader's, from its records or an audit.jsonl.

Records of `tersely eval` have the result of a second grader for strings and numbers (`second`; null if undecided). A line
of audit.jsonl is one second opinion; all keys except `verdict` are optional: benchmark, problem_id, sample, gold, answer,
verdict (the verifier's), second (correct | incorrect | undecided), reason. Disagreements are listed, agreements counted.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tersely.eval.records import read_at
from tersely.eval.run_arrays import LISTED, RunRecords

FILE = "audit.jsonl"
COLUMNS = ("benchmark", "problem_id", "gold", "answer", "verdict", "second", "reason")


def audit_of(run: RunRecords) -> dict[str, Any] | None:
    """The audit of a run, from its audit file or else its records; None without second opinions."""
    return read_audit(run.folder) or records_audit(run)


def records_audit(run: RunRecords) -> dict[str, Any] | None:
    pairs = sum((b.seconds for b in run.benchmarks.values()), Counter())
    if not pairs or run.path is None:
        return None
    places = [place for b in run.benchmarks.values() for place in b.differing][:LISTED]
    agreed = sum(n for (verdict, second), n in pairs.items() if verdict == second)
    return _audit(pairs, agreed, [read_at(run.path, place) for place in places], 0)


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
    return _audit(pairs, len(rows) - len(differing), differing, unreadable)


def _audit(pairs: Counter[Any], agreed: int, differing: list[dict[str, Any]], unreadable: int) -> dict[str, Any]:
    checked = sum(pairs.values())
    return {
        "checked": checked,
        "agreed": agreed,
        "unreadable": unreadable,
        "pairs": [(*pair, n) for pair, n in sorted(pairs.items())],
        "disagreements": [{key: _short(row.get(key)) for key in COLUMNS} for row in differing[:LISTED]],
        "left_out": max(0, checked - agreed - LISTED),
    }


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 300 else text[:299] + "\N{HORIZONTAL ELLIPSIS}"
