"""Collects the traces of a run as columns, and summarises groups of them with intervals over problems.

Means are over a problem's traces, then over problems; intervals resample problems (`tersely.eval.stats`), because traces of
one problem are not independent. The tokens after the first correct answer are those of correct traces whose answer was found
in the text: recorded, or estimated from characters (`tersely.eval.first_answer`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tersely.eval import stats
from tersely.eval.analysis.text_facts import text_facts
from tersely.eval.first_answer import first_correct_tokens
from tersely.eval.metrics.adaptivity import BINS, rate_bin
from tersely.eval.metrics.arrays import divide
from tersely.eval.metrics.thinking import redundant_tokens
from tersely.eval.records import SCORES
from tersely.eval.run_arrays import level_order, strategy_label

DRAWS = 2000
FOR_A_RATE = 4
"""Decided traces of a problem from which its pass rate counts."""
LISTED = 20
"""Groups of one kind that are listed."""
MEASURES = {
    "tokens": "tokens",
    "accuracy": "correct, share",
    "segments": "segments of the thinking",
    "reflecting": "segments that reflect or change the approach, share",
    "markers": "reflection markers per 1,000 tokens",
    "first_correct": "tokens up to the first correct answer, of correct traces",
    "redundant": "tokens after it",
    "redundant_share": "tokens after it, share",
    "loops": "traces that loop, share",
    "no_answer": "traces without an answer, share",
    "truncated": "traces that the cap stopped, share",
}
"""Key of a measure -> what it is."""
SHARES = ("accuracy", "reflecting", "redundant_share", "loops", "no_answer", "truncated")


@dataclass
class TraceTable:
    """The traces of one run with one decoding strategy, one row per trace; of two records of a sample the later one counts."""

    rows: dict[tuple[str, str, Any], tuple[float, ...]] = field(default_factory=dict)
    labels: dict[tuple[str, str], tuple[str | None, str | None]] = field(default_factory=dict)
    """(benchmark, problem) -> (level, family)."""
    estimated: int = 0
    """Correct traces whose first correct answer has an estimated position."""

    def add(self, record: Mapping[str, Any]) -> None:
        problem = (printable(str(record["benchmark"])), str(record["problem_id"]))
        verdict = record.get("verdict")
        correct = SCORES[verdict] if verdict in SCORES else record.get("correct")
        first, estimated = first_correct_tokens(dict(record), correct)
        self.estimated += estimated and correct == 1
        facts = text_facts(record.get("text") or "")
        tokens = float(record["tokens"])
        self.labels.setdefault(problem, (_text(record.get("level")), _text(record.get("family"))))
        self.rows[(*problem, record.get("sample", len(self.rows)))] = (
            tokens,
            _number(correct),
            first,
            facts.segments,
            facts.reflecting / facts.segments if facts.segments else np.nan,
            1000 * facts.markers / tokens if tokens else np.nan,
            facts.loop,
            verdict == "no_answer" if verdict is not None else np.nan,
            _number(record.get("truncated")),
            _number(record.get("step")),
        )

    def summary(self) -> dict[str, Any]:
        """{"traces", "problems", "estimated", "groups": [{"by", "name", "traces", "problems", measure: {mean, low, high}}]}."""
        columns = np.array(list(self.rows.values()), dtype=np.float64).T
        tokens, correct, first, *others, step = columns
        redundant = redundant_tokens(correct, first, tokens)[:, 0]
        known = ~np.isnan(redundant)
        segments, reflecting, markers, loops, no_answer, truncated = others
        values = {
            "tokens": tokens,
            "accuracy": correct,
            "segments": segments,
            "reflecting": reflecting,
            "markers": markers,
            "first_correct": np.where(known, first, np.nan),
            "redundant": redundant,
            "redundant_share": divide(redundant, tokens),
            "loops": loops,
            "no_answer": no_answer,
            "truncated": truncated,
        }
        number = {problem: i for i, problem in enumerate(self.labels)}
        of = np.array([number[key[:2]] for key in self.rows], dtype=np.int64)
        groups = [
            {"by": by, "name": name, **group(values, of, chosen)}
            for by, name, chosen in self._groups(of, correct, step)
        ]
        return {"traces": len(of), "problems": len(number), "estimated": self.estimated, "groups": groups}

    def _groups(self, of: np.ndarray, correct: np.ndarray, step: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
        """(kind, name, traces) of every group; a kind with a single group is left out."""
        yield "all", "all", np.ones(len(of), dtype=bool)
        several = len({benchmark for benchmark, _ in self.labels}) > 1
        levels = [
            None if level is None else f"{benchmark} {level}" if several else level
            for (benchmark, _), (level, _) in self.labels.items()
        ]
        yield from _named("level", levels, of, sorted({x for x in levels if x is not None}, key=level_order))
        yield from _named("pass rate", pass_rates(of, correct, len(self.labels)), of, BINS[::-1])
        families = [family or benchmark for (benchmark, _), (_, family) in self.labels.items()]
        yield from _named("family", families, of, sorted(set(families)))
        yield from _thirds(step)


def group(values: Mapping[str, np.ndarray], of: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """Each measure of the chosen traces with its interval over problems; `of`: number of each trace's problem."""
    _, problem = np.unique(of[chosen], return_inverse=True)
    found: dict[str, Any] = {"traces": int(chosen.sum()), "problems": int(problem.max(initial=-1)) + 1}
    for name, column in values.items():
        x = column[chosen]
        known = ~np.isnan(x)
        count = np.bincount(problem[known], minlength=found["problems"])
        total = np.bincount(problem[known], weights=x[known], minlength=found["problems"])
        means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        interval = stats.bootstrap_mean(means, draws=DRAWS)
        found[name] = {
            "mean": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "traces": int(known.sum()),
        }
    return found


def pass_rates(of: np.ndarray, correct: np.ndarray, problems: int) -> list[str | None]:
    """Bin of each problem's share of correct traces; None for one with fewer than `FOR_A_RATE` decided traces."""
    known = ~np.isnan(correct)
    count = np.bincount(of[known], minlength=problems)
    right = np.bincount(of[known], weights=correct[known], minlength=problems)
    rate = np.where(count >= FOR_A_RATE, right / np.maximum(count, 1), np.nan)
    return [None if which < 0 else BINS[which] for which in rate_bin(rate)]


def _named(
    by: str, names: list[str | None] | list[str], of: np.ndarray, order: Iterable[str]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """A group per name of the problems, the `LISTED` most frequent ones, in order."""
    frequent = {name for name, _ in Counter(name for name in names if name is not None).most_common(LISTED)}
    if len(frequent) < 2:
        return
    labels = np.array(names, dtype=object)[of]
    for name in order:
        if name in frequent:
            yield by, name, labels == name


def _thirds(step: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """The first, middle and last steps of a training run."""
    parts = [part for part in np.array_split(np.unique(step[~np.isnan(step)]), 3) if len(part)]
    for part in parts if len(parts) > 1 else ():
        name = f"{part[0]:.0f}" if len(part) == 1 else f"{part[0]:.0f} to {part[-1]:.0f}"
        yield "step", name, (step >= part[0]) & (step <= part[-1])


def tables_of(records: Iterable[Mapping[str, Any]], name: str) -> dict[str, TraceTable]:
    """The traces by run and decoding strategy; `name`: the run of records that name none."""
    found: dict[str, TraceTable] = {}
    for record in records:
        label, run = strategy_label(record.get("strategy")), str(record.get("run") or name)
        found.setdefault(printable(run if label is None else f"{run} + {label}"), TraceTable()).add(record)
    return found


def _text(value: Any) -> str | None:
    return None if value is None else printable(str(value))


def printable(name: str) -> str:
    """The name without lone surrogates, which cannot be printed."""
    return name.encode("utf-8", "backslashreplace").decode()


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")
