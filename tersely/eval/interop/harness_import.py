"""Imports per-sample files of lm-evaluation-harness (samples_*.jsonl) and lighteval (details_*.parquet) as records.jsonl.

Missing values are not invented:
- lm-evaluation-harness stores texts but no tokens: `count_tokens` (a tokenizer's count of a text) is required. lighteval
  stores token ids; `count_tokens` is needed only if they are missing.
- Both score a problem, not a sample. With one sample the score is its verdict. With several, a sample's verdict is known
  if the score is a mean over them and 0 or 1 (lighteval's avg@n), if the score is 0 (all incorrect), or if the harness's
  filter selected that text; otherwise it is undecided, unless `grade` decides it from reference answer, text and row.
- Thinking tokens are those up to `</think>`; if a part of the text cannot be counted, they are unknown.
Files that Tersely exported contain verdicts and counts, and are restored exactly.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersely.core.parse_completion import END_OF_THINKING
from tersely.core.strict_json import strict_json
from tersely.eval.records import SCORES, RecordWriter

Count = Callable[[str], int]
Grade = Callable[[str, str, dict[str, Any]], str]
"""(gold, text, the problem's row) -> correct | incorrect | no_answer | undecided"""
OWN = "tersely"  # key of our additional fields in an export
METRICS = ("exact_match", "math_verify", "extractive_match", "acc", "accuracy", "em")
MEAN = "avg@"
LM_EVAL = ("doc", "doc_id", "resps", "target")
LIGHTEVAL = ("doc", "metric", "model_response")


@dataclass(frozen=True)
class Problem:
    """One problem of another harness's file: the texts of its samples, and their common score."""

    path: Path
    task: str
    problem_id: str
    problem: str
    gold: str
    texts: list[str]
    scores: dict[str, Any]
    lengths: list[int] | None = None  # tokens of each text, if stored
    cap: int | None = None  # tokens
    chosen: str | None = None  # the text that was scored
    exported: list[dict[str, Any]] | None = None  # our fields, in a file that Tersely exported
    golds: tuple[str, ...] = ()  # alternative correct answers
    row: dict[str, Any] = field(default_factory=dict)  # the problem's columns, for a scorer


def import_lm_eval(
    paths: Iterable[str | Path],
    out_dir: str | Path,
    run: str,
    count_tokens: Count | None = None,
    *,
    metric: str | None = None,
    filter: str | None = None,
    grade: Grade | None = None,
) -> Path:
    """samples_*.jsonl of lm-evaluation-harness -> out_dir/records.jsonl; returns its path.

    metric, filter: the score to use; by default the first known metric and the first filter of each file. run.json records
    the filter used for each file, and its other filters. Raises ValueError without a token counter, for an unknown metric or
    filter, a file without samples, or an out_dir with records.
    """
    used: dict[str, str] = {}
    problems = (problem for path in paths for problem in _lm_eval(Path(path), filter, used))
    path = _write(out_dir, problems, run, count_tokens, metric, grade)
    card = {"name": run, "imported": {"harness": "lm-evaluation-harness", "filters": used}}
    (path.parent / "run.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def import_lighteval(
    paths: Iterable[str | Path],
    out_dir: str | Path,
    run: str,
    count_tokens: Count | None = None,
    *,
    metric: str | None = None,
    grade: Grade | None = None,
) -> Path:
    """details_*.parquet of lighteval -> out_dir/records.jsonl; returns its path. Errors as in import_lm_eval."""
    problems = (problem for path in paths for problem in _lighteval(Path(path)))
    return _write(out_dir, problems, run, count_tokens, metric, grade)


def _write(
    out_dir: str | Path,
    problems: Iterator[Problem],
    run: str,
    count: Count | None,
    metric: str | None,
    grade: Grade | None,
) -> Path:
    path = Path(out_dir) / "records.jsonl"
    if path.exists():
        raise ValueError(f"{path} exists. Import into a new directory")
    rows = [row for problem in problems for row in _records(problem, run, count, metric, grade)]
    times = Counter((row["benchmark"], row["problem_id"], row["sample"]) for row in rows)
    for (task, problem_id, sample), found in times.items():
        if found > 1:
            raise ValueError(
                f"sample {sample} of problem {problem_id} of {task}: got {found} records; expected one. Import files of the "
                "same task into separate directories"
            )
    with RecordWriter(path) as writer:  # all or nothing: a partial import would look like a run
        for row in rows:
            writer.write(row)
    return path


def _lm_eval(path: Path, wanted: str | None, used: dict[str, str]) -> Iterator[Problem]:
    rows = _json_lines(path)
    if not rows:
        raise ValueError(f"{path} has no samples")
    wanted = wanted or rows[0].get("filter")
    filters = {str(row.get("filter")) for row in rows}
    if wanted is not None and wanted not in filters:
        raise ValueError(f"{path}: filter: got {wanted!r}; expected one of {', '.join(sorted(filters))}")
    others = ", ".join(sorted(filters - {str(wanted)}))
    used[path.name] = f"{wanted}" + (f" (others: {others})" if others else "")
    task, _, stamp = path.stem.removeprefix("samples_").rpartition("_")
    if not (stamp[:4].isdigit() and "T" in stamp):
        task = path.stem.removeprefix("samples_")
    seen: Counter[str] = Counter()
    for row in rows:
        if row.get("filter") != wanted:
            continue
        problem_id = str(row.get("doc_hash") or row["doc_id"])
        seen[problem_id] += 1  # a dataset may repeat a problem
        filtered, doc = row.get("filtered_resps") or [], row["doc"]
        yield Problem(
            path,
            task,
            problem_id=problem_id if seen[problem_id] == 1 else f"{problem_id}#{seen[problem_id]}",
            problem=str(doc.get("question") or doc.get("problem") or _request(row).get("arg_0") or json.dumps(doc)),
            gold=" or ".join(golds := _golds(row["target"])),
            golds=golds,
            texts=_texts(path, _responses(row)),
            scores=row,
            cap=_cap(row),
            chosen=filtered[0] if len(filtered) == 1 and isinstance(filtered[0], str) else None,
            exported=row.get(OWN),
            row=doc,
        )


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """Split only at line feeds: a text may contain other line separators."""
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = strict_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except ValueError as error:
                raise ValueError(
                    f"{path}:{number}: invalid JSON ({error}); expected one object per line, as in samples_*.jsonl"
                ) from None
            missing = [key for key in LM_EVAL if not isinstance(row, dict) or key not in row]
            if missing or not isinstance(row["doc"], dict) or not isinstance(row["resps"], list):
                found = f"{', '.join(missing)} missing" if missing else "other types"
                raise ValueError(
                    f"{path}:{number}: got {found}; expected a sample of lm-evaluation-harness with doc (an object), resps (a "
                    f"list), doc_id and target. Run it with `--log_samples`"
                )
            if fault := _fault(row):
                raise ValueError(f"{path}:{number}: {fault}")
            rows.append(row)
    return rows


def _fault(row: dict[str, Any]) -> str | None:
    """A value of a sample that cannot be used."""
    targets = row["target"] if isinstance(row["target"], list) else [row["target"]]
    if not targets or not all(_is_answer(target) for target in targets):
        return f"target: got {str(row['target'])[:60]!r}; expected an answer, or a list of answers"
    texts = _responses(row)
    if not texts:
        return "resps: got no response; expected at least one. Remove the row"
    try:
        json.dumps(texts, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "resps: got a lone surrogate, half of a broken symbol, which cannot be tokenised. Remove the row"
    for key in ("filter", "doc_hash"):
        if not isinstance(row.get(key), str | None):
            return f"{key}: got {str(row[key])[:60]!r}; expected text"
    if not isinstance(row["doc_id"], int | str):
        return f"doc_id: got {row['doc_id']!r}; expected a whole number"
    cap = _cap(row)
    if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 1):
        return f"max_gen_toks: got {cap!r}; expected a whole number of tokens of at least 1"
    exported = row.get(OWN)
    if exported is not None and not (
        isinstance(exported, list) and all(isinstance(one, dict) and "benchmark" in one for one in exported)
    ):
        return f"{OWN}: got {str(exported)[:60]!r}; expected the fields that an export wrote. Remove the key"
    return None


def _is_answer(target: Any) -> bool:
    return isinstance(target, str | int | float) and target == target


def _responses(row: dict[str, Any]) -> list[Any]:
    return [text for many in row["resps"] for text in (many if isinstance(many, list) else [many])]


def _request(row: dict[str, Any]) -> dict[str, Any]:
    """The first request's arguments."""
    arguments = row.get("arguments")
    first = next(iter(arguments.values()), None) if isinstance(arguments, dict) else None
    return first if isinstance(first, dict) else {}


def _cap(row: dict[str, Any]) -> Any:
    limits = _request(row).get("arg_1")
    return limits.get("max_gen_toks") if isinstance(limits, dict) else None


def _golds(target: Any) -> tuple[str, ...]:
    """The target of a problem; a list has alternative correct answers."""
    return tuple(map(str, target)) if isinstance(target, (list, tuple)) and target else (str(target),)


def _texts(path: Path, texts: list[Any]) -> list[str]:
    texts = ["" if text is None else text for text in texts]  # no response
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"{path}: got log-likelihoods or other numbers; expected texts, from a task with output_type generate_until"
        )
    return texts


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not a parquet file ({error}); expected lighteval's details_*.parquet") from None
    if not rows:
        raise ValueError(f"{path} has no samples")
    if not all(isinstance(row.get(key), dict) for row in rows for key in LIGHTEVAL):
        raise ValueError(
            f"{path}: got the columns {', '.join(rows[0])}; expected those of lighteval 0.13: {', '.join(LIGHTEVAL)}"
        )
    return rows


def _lighteval(path: Path) -> Iterator[Problem]:
    rows = _parquet_rows(path)
    for number, row in enumerate(rows):
        doc, response = row["doc"], row["model_response"]
        places = doc["gold_index"] if isinstance(doc["gold_index"], list) else [doc["gold_index"]]
        golds = _golds([doc["choices"][place] for place in places])
        ids = response.get("output_tokens") or []
        exported = (doc.get("specific") or {}).get(OWN)
        yield Problem(
            path,
            task=str(doc.get("task_name") or path.stem.removeprefix("details_")),
            problem_id=str(doc.get("id") or number),
            problem=str(doc.get("original_query") or doc["query"]),
            gold=" or ".join(golds),
            golds=golds,
            texts=_texts(path, response["text"]),
            scores=row["metric"],
            lengths=[len(tokens) for tokens in ids] if len(ids) == len(response["text"]) else None,
            cap=doc.get("generation_size"),
            exported=json.loads(exported) if exported else None,
            row=doc.get("specific") or {},
        )


def _records(
    p: Problem, run: str, count: Count | None, metric: str | None, grade: Grade | None
) -> Iterator[dict[str, Any]]:
    common = {"run": run, "problem_id": p.problem_id, "level": None, "problem": p.problem, "gold": p.gold}
    if p.exported is not None:
        for fields, text in zip(p.exported, p.texts, strict=True):
            yield {**common, **fields, "text": text}
        return
    verdicts = [_any_of(grade, p, text) for text in p.texts] if grade else _verdicts(p, metric)
    for index, (text, verdict) in enumerate(zip(p.texts, verdicts, strict=True)):
        tokens = _tokens(p, index, count)
        cut = p.cap is not None and tokens >= p.cap
        yield {
            **common,
            "benchmark": p.task,
            "sample": index,
            "seed": None,
            "text": text,
            "tokens": tokens,
            "thinking_tokens": _thinking(text, tokens, count),
            "truncated": cut,
            "verdict": verdict,
            "correct": SCORES[verdict],
            "answer": None,
            "finish": "length" if cut else "stop",
            "strategy": None,
        }


def _any_of(grade: Grade, p: Problem, text: str) -> str:
    """The best verdict over the answers; undecided counts above incorrect, because it may be correct."""
    row = {"problem": p.problem, **p.row}
    found = {grade(gold, text, row) for gold in p.golds or (p.gold,)}
    return next(verdict for verdict in ("correct", "undecided", "incorrect", "no_answer") if verdict in found)


def _tokens(p: Problem, index: int, count: Count | None) -> int:
    if p.lengths is not None:
        return p.lengths[index]
    if count is None:
        raise ValueError(f"{p.path} has no token ids. Pass --tokenizer (count_tokens) to count the tokens")
    return count(p.texts[index])


def _thinking(text: str, tokens: int, count: Count | None) -> int | None:
    if END_OF_THINKING in text:
        return count(text[: text.index(END_OF_THINKING) + len(END_OF_THINKING)]) if count else None
    return tokens if text.lstrip().startswith("<think>") else None


def _verdicts(p: Problem, metric: str | None) -> list[str]:
    """One verdict per sample, from the score of the problem."""
    name, score = _score(p, metric)
    known = {0.0: "incorrect", 1.0: "correct"}.get(score, "undecided")
    if len(p.texts) == 1 or score == 0 and p.chosen is None or name.startswith(MEAN):
        return [known] * len(p.texts)
    return [known if text == p.chosen else "undecided" for text in p.texts]


def _score(p: Problem, metric: str | None) -> tuple[str, float]:
    """Name of the metric: the given one, a mean over samples, or the first known one."""
    numbers = {name: float(value) for name, value in p.scores.items() if isinstance(value, int | float)}
    means = [name for name in numbers if name.startswith(MEAN)]
    for name in (metric,) if metric else (*means, *METRICS):
        if name in numbers:
            return name, numbers[name]
    offered = ", ".join(name for name in numbers if name != "doc_id") or "none"
    raise ValueError(f"{p.path}: metric: got {metric or ' or '.join(METRICS)}; expected one of {offered}")
