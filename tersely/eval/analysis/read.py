"""Reads the recorded samples of a run: records.jsonl of an evaluation, or the completions of a training run.

A training run's rows become records with the benchmark `training` and the number of their step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.paths import beside
from tersely.eval.records import FILE, SCORES, RecordReader, value_fault
from tersely.eval.run_arrays import strategy_label

FOLDER = "completions"
TRAINING = "training"
NEEDED = ("prompt_id", "length", "text", "correct")


def sample_records(run: Path) -> Iterator[dict[str, Any]]:
    """The records of a run directory, or of its records.jsonl or `completions` folder. An evaluation comes before a training.

    Raises `FileNotFoundError` with the searched paths, and `ConfigError` with file and line for an unreadable record.
    """
    places = [run] if run.is_file() else [run / FILE, run / "eval" / FILE]
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        yield from (record for _, record in RecordReader(found))
        return
    folder = run if run.name == FOLDER else run / FOLDER
    tables = sorted(folder.glob("*.parquet"))
    if not tables:
        hint = "" if run.exists() else beside(run)
        raise FileNotFoundError(
            f"no recorded samples in {run} (searched {', '.join(map(str, places))} and {folder}); "
            f"{hint + '; ' if hint else ''}expected a directory that `tersely eval`, `tersely rollouts` or a training run wrote"
        )
    for table in tables:
        yield from _completions(table)


def _completions(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: unreadable ({error}). Remove it, or restore it from a copy") from None
    for number, row in enumerate(rows):
        missing = [name for name in NEEDED if row.get(name) is None and name != "correct"]
        if missing:
            raise ConfigError(
                f"{path}: row {number} lacks {', '.join(missing)}; expected the completions of a training run"
            )
        record = _record(row, number)
        if fault := value_fault(record):
            raise ConfigError(f"{path}: row {number}: {fault}")
        yield record


def _record(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A row of the completions table as a line of records.jsonl."""
    correct = row.get("correct")
    undecided = correct is None or math.isnan(correct)
    status = row.get("status")
    return {
        "benchmark": TRAINING,
        "problem_id": row["prompt_id"],
        "sample": f"{row.get('step')}-{number}",
        "step": row.get("step"),
        "level": row.get("level"),
        "family": row.get("family"),
        "problem": row.get("problem"),
        "gold": row.get("gold"),
        "text": row["text"],
        "tokens": row["length"],
        "thinking_tokens": row.get("thinking_length"),
        "truncated": row.get("truncated"),
        "verdict": status if status in SCORES else None if undecided else "correct" if correct == 1 else "incorrect",
        "correct": None if undecided else correct,
        "answer": row.get("answer"),
        "finish": "length" if row.get("truncated") else "stop",
        "strategy": None,
    }


def good_trace(record: Mapping[str, Any]) -> bool:
    """True for a correct and complete sample without a decoding strategy: one that a cold start can train on.

    A line of records.jsonl serves every rewrite and loss of a cold start: they read problem, reference answer and text.
    """
    plain = strategy_label(record.get("strategy")) is None
    return plain and record.get("correct") == 1 and not record.get("truncated") and bool(record.get("text"))
