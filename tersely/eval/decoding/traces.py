"""Reads the recorded samples of an evaluated run with their prompts as token ids, to fit seal and diff_adapt.

RUN is an evaluated run (records.jsonl) of the same model. Fit on problems that you do not evaluate on later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trace:
    """One recorded sample with its prompt, as token ids."""

    prompt_id: str
    prompt_ids: tuple[int, ...]
    text: str
    correct: float | None
    """1 or 0; 0 for a correct answer in a truncated sample, as in training."""


def read_traces(evaluator: Any, run: Path, benchmark: str | None) -> Iterator[Trace]:
    """Read the vanilla samples of a run, with their prompts rebuilt from the recorded settings."""
    from tersely.data.benchmarks import load_benchmark
    from tersely.eval.records import RecordReader
    from tersely.eval.run_arrays import find_records, strategy_label
    from tersely.eval.run_card import read_card

    path = find_records(run)
    recorded = read_card(path.parent).get("settings", {})
    prompts: dict[str, dict[str, tuple[int, ...]]] = {}
    for _, record in RecordReader(path):
        if strategy_label(record.get("strategy")) is not None:
            continue
        name = record["benchmark"]
        if name not in prompts:
            how = {key: recorded.get(name, {}).get(key) for key in ("limit", "instruction", "system_prompt")}
            _, data, _ = load_benchmark(benchmark or name, **how)
            prompts[name] = {row["prompt_id"]: evaluator.render(row["prompt"]) for row in data}
        if record["problem_id"] in prompts[name]:
            prompt, correct = prompts[name][record["problem_id"]], record["correct"]
            ended = 0 if correct and record.get("truncated") else correct
            yield Trace(record["problem_id"], prompt, record["text"], ended)
