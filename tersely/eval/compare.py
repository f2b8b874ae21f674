"""Compares two evaluated runs on the same problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tersely.eval.report.compare import compare_all
from tersely.eval.report.data import clean
from tersely.eval.report.write import load_all
from tersely.eval.run_arrays import RunRecords
from tersely.eval.same_settings import check_same, unrecorded


def compare(
    a: RunRecords | str | Path, b: RunRecords | str | Path, *, margin: float = 0.01, anyway: bool = False
) -> list[dict[str, Any]]:
    """Compare every run in `b` with the first run in `a`; the entries of report.json. `A,B` are seeds of one run.

    margin: non-inferiority margin, a fraction. Raises ValueError without shared problems, and for different settings
    unless `anyway`.
    """
    first = load_all([a])
    runs = load_all([*first, b])
    others = runs[len(first) :]
    by_name = {run.name: run for run in runs}
    unlike = check_same(others, runs[0], anyway)
    found = [
        clean(
            c
            | {
                "different_settings": unlike.get((c["run"], c["benchmark"]), []),
                "settings_unrecorded": unrecorded(by_name[c["run"]], runs[0], c["benchmark"]),
            }
        )
        for c in compare_all(others, runs[0], margin)
    ]
    if not found:
        raise ValueError(
            f"{runs[0].name} and {runs[-1].name} have no common benchmark: "
            f"got {', '.join(runs[0].benchmarks)} and {', '.join(runs[-1].benchmarks)}"
        )
    if not any(c["problems"] for c in found):
        name = found[0]["benchmark"]
        ids = [", ".join(run.benchmarks[name].problem_ids[:3]) for run in (runs[0], runs[-1])]
        raise ValueError(
            f"{runs[0].name} and {runs[-1].name} have no common problem of {name}: problem_id is {ids[0]}, ... and "
            f"{ids[1]}, ...; expected the same problems with the same ids"
        )
    return found
