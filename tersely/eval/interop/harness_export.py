"""Exports records.jsonl to lm-evaluation-harness (samples_*.jsonl) and lighteval (details_*.parquet).

Every problem is one row with all its samples; its score is the mean over decided samples. Our additional fields are
under the key `tersely` (lighteval: in doc.specific), so that importing the file again loses nothing.
Records have token counts, not ids: lighteval's output_tokens are that many zeros.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tersely.eval.interop.harness_import import OWN
from tersely.eval.records import KEYS, SCORES, RecordReader
from tersely.eval.run_arrays import find_records, strategy_label

OUTSIDE = ("run", "text")  # the other formats have fields for these


def export_lm_eval(run: str | Path, out_dir: str | Path, stamp: str = "2000-01-01T00-00-00") -> list[Path]:
    """Write one samples_<benchmark>_<stamp>.jsonl per benchmark. The same run and stamp give the same files."""
    paths = []
    for benchmark, problems in _problems(run).items():
        path = Path(out_dir) / f"samples_{_file_name(benchmark)}_{stamp}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for number, samples in enumerate(problems.values()):
                file.write(json.dumps(_lm_eval_row(number, samples), ensure_ascii=False) + "\n")
        paths.append(path)
    return paths


def _lm_eval_row(number: int, samples: list[dict[str, Any]]) -> dict[str, Any]:
    first = samples[0]
    doc = {
        "question": first["problem"],
        "answer": first["gold"],
        "problem_id": first["problem_id"],
        "level": first["level"],
    }
    texts = [sample["text"] for sample in samples]
    return {
        "doc_id": number,
        "doc": doc,
        "target": str(first["gold"]),
        "arguments": {"gen_args_0": {"arg_0": first["problem"], "arg_1": {}}},
        "resps": [texts],
        "filtered_resps": texts,
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": _hash(json.dumps(doc, sort_keys=True)),
        "prompt_hash": _hash(str(first["problem"])),
        "target_hash": _hash(str(first["gold"])),
        "exact_match": _mean(samples),
        OWN: _own(samples),
    }


def export_lighteval(run: str | Path, out_dir: str | Path, stamp: str = "2000-01-01T00-00-00") -> list[Path]:
    """Write one details_<benchmark>|0_<stamp>.parquet per benchmark, with columns doc, metric and model_response.

    output_tokens has one zero per token, because our records have counts, not ids.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    paths = []
    for benchmark, problems in _problems(run).items():
        rows = [_lighteval_row(benchmark, samples) for samples in problems.values()]
        path = Path(out_dir) / f"details_{_file_name(benchmark)}|0_{stamp}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        paths.append(path)
    return paths


def _lighteval_row(benchmark: str, samples: list[dict[str, Any]]) -> dict[str, Any]:
    first, n = samples[0], len(samples)
    exported = json.dumps(_own(samples))
    doc = {
        "query": str(first["problem"]),
        "choices": [str(first["gold"])],
        "gold_index": [0],
        "id": str(first["problem_id"]),
        "task_name": f"{benchmark}|0",
        "num_samples": n,
        "specific": {OWN: exported},
    }
    response = {
        "text": [_encodable(sample["text"]) for sample in samples],
        "output_tokens": [[0] * int(sample["tokens"]) for sample in samples],
        "input_tokens": [],
    }
    return {
        "doc": doc,
        "metric": {f"avg@n:n={n}" if n > 1 else "extractive_match": _mean(samples)},
        "model_response": response,
    }


def _problems(run: str | Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """benchmark -> problem -> its records; a later record of the same sample replaces the earlier one."""
    path = find_records(run)
    found: dict[str, dict[str, dict[Any, dict[str, Any]]]] = {}
    names, others = set(), set()
    for _, record in RecordReader(path):
        label = strategy_label(record.get("strategy"))
        if label is not None:
            others.add(label)
            continue
        names.add(record.get("run"))
        samples = found.setdefault(str(record["benchmark"]), {}).setdefault(str(record["problem_id"]), {})
        index = record.get("sample", len(samples))
        verdict = _verdict(record)
        known = {"sample": index, "text": record.get("text") or "", "verdict": verdict, "correct": SCORES[verdict]}
        samples[index] = {**dict.fromkeys(KEYS), **record, **known}
    if not found:
        raise ValueError(
            f"{path} has no vanilla samples to export; its strategies: {', '.join(sorted(others)) or 'none'}"
        )
    if len(names) > 1:
        raise ValueError(
            f"{path} has the runs {', '.join(sorted(map(str, names)))}; expected one run. Split the file by `run`"
        )
    return {
        benchmark: {problem: list(samples.values()) for problem, samples in problems.items()}
        for benchmark, problems in found.items()
    }


def _verdict(record: dict[str, Any]) -> str:
    """Verdict of a record, or the one implied by `correct`."""
    return record.get("verdict") or {1: "correct", 0: "incorrect"}.get(record.get("correct"), "undecided")  # type: ignore[arg-type]


def _own(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in sample.items() if key not in OUTSIDE} for sample in samples]


def _mean(samples: list[dict[str, Any]]) -> float | None:
    decided = [sample["correct"] for sample in samples if sample["correct"] is not None]
    return sum(decided) / len(decided) if decided else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _file_name(benchmark: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in benchmark)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
