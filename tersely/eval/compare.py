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
    """Comparisons of every run in b with the (first) run in a, as in report.json; `A,B` are seeds of one run.

    margin: of non-inferiority, as a fraction. ValueError: nothing shared, or different settings, unless `anyway`.
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
            f"{runs[0].name} and {runs[-1].name} share no benchmark: "
            f"{', '.join(runs[0].benchmarks)} against {', '.join(runs[-1].benchmarks)}"
        )
    if not any(c["problems"] for c in found):
        name = found[0]["benchmark"]
        ids = [", ".join(run.benchmarks[name].problem_ids[:3]) for run in (runs[0], runs[-1])]
        raise ValueError(
            f"{runs[0].name} and {runs[-1].name} share no problem of {name}: problem_id is {ids[0]}, ... against {ids[1]}, "
            "...; a comparison needs the same problems under the same ids"
        )
    return found
