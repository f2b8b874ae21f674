"""Loads runs as arrays: records.jsonl of a directory -> (Q, n) arrays per benchmark, without the texts.

A run directory holds `records.jsonl` (or `eval/records.jsonl`) and optionally `run.json`, the run card: name,
model, command, versions, seeds, commit, hardware. Records of several run names or decoding strategies in one file become
several runs. Of two records for the same sample the later one counts (a restarted run may write one twice).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tersely.core.errors import ConfigError
from tersely.core.paths import beside, expanded
from tersely.eval.first_answer import first_correct_tokens
from tersely.eval.metrics.accuracy import where_ended
from tersely.eval.records import FILE, SCORES, RecordReader, read_at

PLAIN = {None, "", "none", "plain", "default", "unlimited"}
VERDICTS = tuple(SCORES)


@dataclass
class BenchmarkRecords:
    """One run on one benchmark; Q problems, at most n samples each, nan (None, -1) for a missing sample."""

    problem_ids: list[str]
    levels: list[str | None]  # (Q,)
    correct: np.ndarray  # (Q, n) 1, 0, nan
    tokens: np.ndarray  # (Q, n)
    thinking_tokens: np.ndarray  # (Q, n)
    truncated: np.ndarray  # (Q, n) 1, 0, nan
    first_correct: np.ndarray  # (Q, n) tokens, nan = never stated
    verdict: np.ndarray  # (Q, n) index into VERDICTS, nan
    answers: np.ndarray  # (Q, n) object
    offset: np.ndarray  # (Q, n) int64, position in the file, -1
    budget: np.ndarray  # (Q, n) requested tokens, nan without a request
    estimated: int = 0  # samples with an estimated first_correct
    seconds: Counter[tuple[str, str]] = field(default_factory=Counter)  # (verdict, second opinion) -> samples
    finishes: dict[str, list[float]] = field(default_factory=dict)  # finish -> [samples, decided, correct, tokens]
    differing: list[int] = field(default_factory=list)  # positions of the first samples whose second opinion differs
    contents: dict[str, int] = field(default_factory=dict)  # problem id -> hash of its text and gold, in this process
    seeds: np.ndarray | None = None  # (n,) seed of each column, for several seeds of one run; None: one seed

    @property
    def correct_ended(self) -> np.ndarray:
        """(Q, n) `correct`, with 0 for answers in truncated completions."""
        return where_ended(self.correct, self.truncated)

    @property
    def seed_of(self) -> np.ndarray:
        """(n,) number of the seed of each column."""
        return np.zeros(self.correct.shape[1], dtype=np.int64) if self.seeds is None else self.seeds

    @property
    def seed_count(self) -> int:
        return len(np.unique(self.seed_of))

    def by_seed(self) -> list[BenchmarkRecords]:
        """The records of each seed; [self] for one seed."""
        if self.seed_count < 2:
            return [self]
        parts = ({name: getattr(self, name)[:, self.seed_of == s] for name in ARRAYS} for s in np.unique(self.seed_of))
        return [BenchmarkRecords(self.problem_ids, self.levels, **part) for part in parts]

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row numbers of these problems, in this order."""
        where = {p: i for i, p in enumerate(self.problem_ids)}
        return np.array([where[p] for p in ids], dtype=np.int64)

    def take(self, rows: np.ndarray) -> BenchmarkRecords:
        """The same run on some of its problems."""
        picked = {name: getattr(self, name)[rows] for name in ARRAYS}
        return BenchmarkRecords(
            [self.problem_ids[i] for i in rows],
            [self.levels[i] for i in rows],
            **picked,
            estimated=self.estimated,
            seeds=self.seeds,
        )


ARRAYS = (
    "correct",
    "tokens",
    "thinking_tokens",
    "truncated",
    "first_correct",
    "verdict",
    "answers",
    "offset",
    "budget",
)
LISTED = 200
"""Maximum number of stored positions of disagreements between verdict and second opinion."""


@dataclass
class RunRecords:
    """One run: its name, its card, its records by benchmark, and notes on problems with the file."""

    name: str
    path: Path | None
    card: dict[str, Any]
    benchmarks: dict[str, BenchmarkRecords]
    dropped: int = 0
    duplicates: int = 0
    strategy: str | None = None
    given: dict[str, Any] = field(default_factory=dict)
    """Name and parameters of the strategy, as in the records."""
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)
    members: list[RunRecords] = field(default_factory=list)
    """The runs of each seed, if this run pools several seeds."""

    def training_folder(self) -> Path | None:
        """Training run directory, if it is on this disk: the run's folder, or the parent of the evaluated model."""
        model = str(self.card.get("model") or "").partition(" [")[0]  # the hash of the weights follows the path
        places = [self.folder, self.folder.resolve().parent] if self.folder and self.strategy is None else []
        if model and Path(model).is_dir():
            places += [Path(model), Path(model).resolve().parent]
        return next((place for place in places if (place / "metrics.jsonl").is_file()), None)

    def record(self, benchmark: str, row: int, column: int) -> dict[str, Any]:
        """The full record of one sample, read back from the file."""
        b = self.benchmarks[benchmark]
        offset = int(b.offset[row, column])
        path = self.members[b.seed_of[column]].path if self.members else self.path
        if offset < 0 or path is None:
            raise ConfigError(f"run {self.name}: no sample {column} of problem {row} of {benchmark}")
        return read_at(path, offset)


def pair(a: BenchmarkRecords, b: BenchmarkRecords) -> tuple[BenchmarkRecords, BenchmarkRecords]:
    """Both runs restricted to their common problems, in the base's order."""
    known = set(a.problem_ids)
    shared = [problem for problem in b.problem_ids if problem in known]
    return a.take(a.rows(shared)), b.take(b.rows(shared))


def level_order(level: str) -> tuple[int, float, str]:
    """Sort key of a level: by its number, then by its text."""
    digits = "".join(c for c in level if c.isdigit() or c == ".").strip(".")
    try:
        return (0, float(digits), level)
    except ValueError:
        return (1, 0.0, level)


def find_records(run: str | Path) -> Path:
    """Path of a run's records.jsonl, from its directory or the file itself. FileNotFoundError lists the searched paths."""
    path = Path(run)
    places = [path] if path.is_file() else [path / FILE, path / "eval" / FILE]
    for place in places:
        if place.is_file():
            return place
    hint = "" if path.exists() else beside(path)
    raise FileNotFoundError(
        f"no {FILE} in {path} (searched {', '.join(map(str, places))}); {hint + '; ' if hint else ''}run `tersely eval` "
        "first, or choose a directory that has one"
    )


def default_name(folder: str | Path) -> str:
    """Default name of a run: its folder's name, or for `runs/alp/eval` the parent's, `alp`."""
    path = Path(folder).resolve()
    return path.parent.name if path.name == "eval" and path.parent.name else path.name


def load_runs(run: str | Path) -> list[RunRecords]:
    """Load all runs of a directory: one per (run name, decoding strategy) in its records.

    A run in training, with metrics.jsonl and no records, is returned without benchmarks.
    """
    run = expanded(run, "run")
    if (Path(run) / "metrics.jsonl").is_file() and not any((Path(run) / p / FILE).is_file() for p in ("", "eval")):
        return [RunRecords(Path(run).resolve().name, None, _card(Path(run)), {}, folder=Path(run))]
    path = find_records(run)
    folder = (
        path.parent.parent if path.parent.name == "eval" and not (path.parent / "run.json").exists() else path.parent
    )
    card = _card(path.parent) or _card(folder)
    folder_name = default_name(path.parent)
    reader = RecordReader(path)
    found: dict[tuple[str, str | None], dict[str, _Builder]] = {}
    given: dict[str | None, dict[str, Any]] = {}
    for offset, record in reader:
        strategy = strategy_label(record.get("strategy"))
        if strategy not in given:
            given[strategy] = record["strategy"] if isinstance(record.get("strategy"), dict) else {}
        name = str(record.get("run") or card.get("name") or folder.name)
        name = folder_name if name == path.parent.name else name
        found.setdefault((name, strategy), {}).setdefault(str(record["benchmark"]), _Builder()).add(offset, record)
    if not found:
        raise ConfigError(f"{path} has no complete record; the evaluation may have stopped before its first sample")
    runs = []
    for (name, strategy), builders in found.items():
        runs.append(
            RunRecords(
                name=name if strategy is None else f"{name} + {strategy}",
                path=path,
                card=card,
                benchmarks={benchmark: builder.build() for benchmark, builder in builders.items()},
                dropped=reader.dropped,
                duplicates=sum(builder.duplicates for builder in builders.values()),
                strategy=strategy,
                given=given[strategy],
                folder=folder,
            )
        )
    return runs


def _card(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: invalid JSON ({error}). Fix or remove it") from None
    return card if isinstance(card, dict) else {"card": card}


def strategy_label(value: Any) -> str | None:
    """Label of a record's strategy, such as `forced_answer(budget=64)`; None for vanilla sampling."""
    if isinstance(value, dict):
        name, rest = value.get("name", "?"), {k: v for k, v in value.items() if k != "name"}
        shown = ", ".join(f"{k}={v}".replace("\n", "\\n") for k, v in rest.items())
        value = f"{name}({shown})" if rest else name
    return None if value in PLAIN else str(value)


class _Builder:
    def __init__(self) -> None:
        self.samples: dict[str, dict[Any, tuple[Any, ...]]] = {}
        self.levels: dict[str, str | None] = {}
        self.contents: dict[str, int] = {}
        self.duplicates = self.estimated = 0

    def add(self, offset: int, record: dict[str, Any]) -> None:
        problem = str(record["problem_id"])
        level = record.get("level")
        self.levels.setdefault(problem, None if level is None else str(level))
        if problem not in self.contents:
            self.contents[problem] = hash((str(record.get("problem")), str(record.get("gold"))))
        samples = self.samples.setdefault(problem, {})
        index = record.get("sample", len(samples))
        self.duplicates += index in samples
        verdict = record.get("verdict")
        correct = SCORES[verdict] if verdict in SCORES else record.get("correct")
        first, estimated = first_correct_tokens(record, correct)
        self.estimated += estimated
        samples[index] = (
            _float(correct),
            _float(record["tokens"]),
            _float(record.get("thinking_tokens")),
            _float(record.get("truncated")),
            first,
            float(VERDICTS.index(verdict)) if verdict in SCORES else _float(None),
            _hashable(record.get("answer")),
            offset,
            _float(record.get("budget")),
            (str(record.get("finish")), record.get("second"), verdict),
        )

    def build(self) -> BenchmarkRecords:
        """Samples ordered by index, packed to the left."""
        ids = list(self.samples)
        shape = (len(ids), max(len(samples) for samples in self.samples.values()))
        columns: dict[str, np.ndarray] = {name: np.full(shape, np.nan) for name in ARRAYS}
        columns["answers"] = np.full(shape, None, dtype=object)
        columns["offset"] = np.full(shape, -1, dtype=np.int64)
        for q, problem in enumerate(ids):
            for j, (_, values) in enumerate(sorted(self.samples[problem].items(), key=lambda item: _order(item[0]))):
                for name, value in zip(ARRAYS, values, strict=False):
                    columns[name][q, j] = value
        seconds, finishes, differing = self._counts()
        return BenchmarkRecords(
            ids,
            [self.levels[p] for p in ids],
            **columns,
            estimated=self.estimated,
            seconds=seconds,
            finishes=finishes,
            differing=differing[:LISTED],
            contents=self.contents,
        )

    def _counts(self) -> tuple[Counter[tuple[str, str]], dict[str, list[float]], list[int]]:
        """Count second opinions and finish reasons, and collect positions of samples whose second opinion differs."""
        seconds: Counter[tuple[str, str]] = Counter()
        finishes: dict[str, list[float]] = {}
        differing: list[int] = []
        for samples in self.samples.values():
            for correct, tokens, *_, offset, _budget, (finish, second, verdict) in samples.values():
                cell = finishes.setdefault(finish, [0, 0, 0, 0])
                for place, value in enumerate((1, correct == correct, correct == 1, tokens)):  # nan is undecided
                    cell[place] += value
                if second is not None:
                    seconds[str(verdict), str(second)] += 1
                    if second != verdict:
                        differing.append(offset)
        return seconds, finishes, differing


def _order(index: Any) -> tuple[int, Any]:
    return (0, index) if isinstance(index, (int, float)) else (1, str(index))


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _hashable(answer: Any) -> Any:
    return answer if isinstance(answer, (str, int, float, type(None))) else json.dumps(answer)
