"""What each primary method's paper claims, measured on the records of an evaluation or the completions of a training.

A claim is `(run directory, folder of records by evaluation name) -> figures`. Tokens are sampled ones: what a plan prefilled
is taken off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

Record = dict[str, Any]
THINK = "<think>\n"
"""What the testbed's chat template opens the turn with."""


def lapo(run_dir: Path, places: dict[str, Path]) -> dict[str, Any]:
    """Does the second stage keep to the length that it announces? Right rows of its first and last third of steps."""
    import pandas as pd

    files = sorted((run_dir / "completions").glob("*.parquet"))
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    rows = rows[rows.budget.notna() & (rows.correct == 1)]
    first, last = rows.step.min(), rows.step.max()
    third = (last - first + 1) / 3
    parts = {"first_third": rows[rows.step < first + third], "last_third": rows[rows.step > last - third]}
    return {name: kept_to(part.length.tolist(), part.budget.tolist()) for name, part in parts.items()}


def hbpo(run_dir: Path, places: dict[str, Path]) -> dict[str, Any]:
    """Tokens and accuracy by prompting: natural, efficient, and each budget."""
    found: dict[str, list[Record]] = {}
    for record in records(places["hbpo"]):
        spec = (record["strategy"] or {}).get("of") or {}
        name = f"budget_{record['budget']:.0f}" if record.get("budget") else spec.get("prompting", "natural")
        found.setdefault(name, []).append(record)
    return {name: facts(part) for name, part in found.items()}


def selfbudgeter(run_dir: Path, places: dict[str, Path]) -> dict[str, Any]:
    """Does the announced budget follow the length and the level, before and after, and is an imposed one kept?"""
    from tersely.algorithms.prompting.selfbudgeter import SelfBudgeterPrompting

    found: dict[str, Any] = {}
    for name in ("selfbudgeter/warm", "selfbudgeter"):
        for label, part in by_strategy(records(places[name])).items():
            parsed = [(r, SelfBudgeterPrompting.parse(THINK + r["text"])) for r in part]
            told = [(r, p.budget) for r, p in parsed if p.budget]
            spent = [r["tokens"] for r, _ in told]
            found[f"{name} {label}".strip()] = {
                **facts(part),
                "well_formed": fmean(p.well_formed for _, p in parsed),
                "announced": fmean(p.budget is not None for _, p in parsed),
                "rank_correlation": rank_correlation([b for _, b in told], spent),
                **kept_to(spent, [b for _, b in told]),
                "budget_by_level": by_level(told),
            }
    return found


def autothink(run_dir: Path, places: dict[str, Path]) -> dict[str, Any]:
    """Share of answers without a thought, by level, and what each mode is worth: base and after every stage."""
    from tersely.algorithms.prompting.autothink import AutoThinkPrompting

    found: dict[str, Any] = {}
    for name in ("base", "autothink/balance", "autothink/accuracy", "autothink"):
        part = [r for r in records(places[name]) if (r["strategy"] or {}).get("of") == "autothink"]
        modes = [(r, AutoThinkPrompting.parse(THINK + r["text"]).mode) for r in part]
        found[name] = {
            "no_think_share": fmean(mode == "no_think" for _, mode in modes),
            "no_think_by_level": by_level([(r, float(mode == "no_think")) for r, mode in modes]),
            **{mode: facts([r for r, m in modes if m == mode]) for mode in ("think", "no_think")},
        }
    return found


def arm(run_dir: Path, places: dict[str, Path]) -> dict[str, Any]:
    """Formats by level in adaptive mode, before and after; tokens and accuracy of every mode of inference."""
    from tersely.algorithms.prompting.arm import TAGS, ARMPrompting

    found: dict[str, Any] = {}
    for name in ("arm/formats", "arm"):
        for label, part in by_strategy(records(places[name])).items():
            entry: dict[str, Any] = facts(part)
            if not label:
                modes = [(r, ARMPrompting.parse(THINK + r["text"]).mode) for r in part]
                kinds = (*TAGS, "none")
                entry["formats"] = {kind: fmean(mode == kind for _, mode in modes) for kind in kinds}
                entry["formats_by_level"] = {
                    kind: by_level([(r, float(mode == kind)) for r, mode in modes]) for kind in kinds
                }
            found[f"{name} {label}".strip()] = entry
    return found


CLAIMS: dict[str, Callable[[Path, dict[str, Path]], dict[str, Any]]] = {
    "lapo": lapo,
    "hbpo": hbpo,
    "selfbudgeter": selfbudgeter,
    "autothink": autothink,
    "arm": arm,
}


def records(folder: Path) -> list[Record]:
    return [json.loads(text) for text in (folder / "records.jsonl").read_text().splitlines()]


def by_strategy(rows: Iterable[Record]) -> dict[str, list[Record]]:
    from tersely.eval.run_arrays import strategy_label

    found: dict[str, list[Record]] = {}
    for row in rows:
        found.setdefault(strategy_label(row["strategy"]) or "", []).append(row)
    return found


def facts(rows: list[Record]) -> dict[str, Any]:
    if not rows:
        return {"samples": 0}
    spent = [row["tokens"] - row.get("injected_tokens", 0) for row in rows]
    return {"samples": len(rows), "accuracy": fmean(row["correct"] or 0 for row in rows), "tokens": fmean(spent)}


def by_level(pairs: Sequence[tuple[Record, float]]) -> dict[str, float]:
    levels = sorted({str(row["level"]) for row, _ in pairs})
    return {level: fmean(value for row, value in pairs if str(row["level"]) == level) for level in levels}


def kept_to(spent: Sequence[float], budget: Sequence[float]) -> dict[str, Any]:
    """How far lengths are from the budgets that were announced, as shares of the budget."""
    off = [abs(n - b) / b for n, b in zip(spent, budget, strict=True)]
    if not off:
        return {"announcing": 0}
    over = fmean(n > b for n, b in zip(spent, budget, strict=True))
    within = fmean(x <= 0.2 for x in off)
    return {"announcing": len(off), "median_deviation": median(off), "within_20_percent": within, "over_budget": over}


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    from scipy.stats import spearmanr

    value = float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 else math.nan
    return None if math.isnan(value) else value
