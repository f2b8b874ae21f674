"""Selects the worst samples of a run with the base's samples, and shortens their texts.

Worst first: the longest incorrect sample of each problem whose solve rate fell most against the base. With fewer than
twenty such problems, correct samples with the most tokens after their first correct answer follow.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tersely.core.parse_completion import END_OF_THINKING
from tersely.eval.first_answer import first_correct_position
from tersely.eval.metrics import redundant_tokens
from tersely.eval.report.compare import per_problem
from tersely.eval.run_arrays import BenchmarkRecords, RunRecords, pair

HOW_MANY = 20
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def worst_samples(run: RunRecords, base: RunRecords | None, limit: int = 12_000) -> list[dict[str, Any]]:
    """Up to twenty sample pairs of a run, worst first; `limit` characters of each text are shown."""
    ranked = []
    for name, benchmark in run.benchmarks.items():
        if base is None or base is run:
            ranked += [(score, name, benchmark.problem_ids[q], column) for score, q, column in _rank(benchmark, None)]
        elif name in base.benchmarks:
            a, b = pair(benchmark, base.benchmarks[name])
            ranked += [(score, name, a.problem_ids[q], column) for score, q, column in _rank(a, b)]
    ranked.sort(key=lambda item: (item[0], item[1], item[2]), reverse=True)
    return [_pair_of_texts(run, base, name, problem, column, limit) for _, name, problem, column in ranked[:HOW_MANY]]


def _rank(a: BenchmarkRecords, b: BenchmarkRecords | None) -> list[tuple[tuple[float, float], int, int]]:
    """((loss of solve rate or 0, tokens wasted), row, column): one candidate per problem."""
    rate = per_problem(a.correct)
    before = per_problem(b.correct) if b is not None else np.ones(len(rate))
    loss = np.nan_to_num(before - rate)
    unknown = np.where(a.correct == 1, 0.0, -1.0)
    wasted = redundant_tokens(a.correct, a.first_correct, a.tokens)
    wasted = np.where(np.isnan(wasted), unknown, wasted)
    found = []
    for q in range(len(rate)):
        wrong = np.where(a.correct[q] == 0, np.nan_to_num(a.tokens[q]), -1.0)
        if loss[q] > 0 and wrong.max() >= 0:
            found.append(((float(loss[q]), float(wrong.max())), q, int(wrong.argmax())))
        elif wasted[q].max() > 0:
            column = int(wasted[q].argmax())
            found.append(((0.0, float(wasted[q, column])), q, column))
    return found


def _pair_of_texts(
    run: RunRecords, base: RunRecords | None, name: str, problem: str, column: int, limit: int
) -> dict[str, Any]:
    benchmark = run.benchmarks[name]
    row = benchmark.problem_ids.index(problem)
    record = run.record(name, row, column)
    sides = [_side(run.name, record, benchmark.correct[row], limit)]
    if base is not None and base is not run:
        other = base.benchmarks[name]
        there = other.problem_ids.index(problem)
        right = np.where(other.correct[there] == 1, other.tokens[there], np.inf)
        chosen = int(right.argmin()) if np.isfinite(right).any() else 0
        sides.insert(0, _side(base.name, base.record(name, there, chosen), other.correct[there], limit))
    return {
        "run": run.name,
        "benchmark": name,
        "problem_id": problem,
        "level": benchmark.levels[row],
        "problem": _cut(_visible(record.get("problem")), 2000),
        "gold": _cut(_visible(record.get("gold")), 200),
        "verdict": sides[-1]["verdict"],
        "sides": sides,
    }


def _side(name: str, record: dict[str, Any], scores: np.ndarray, limit: int) -> dict[str, Any]:
    correct = {"correct": 1.0}.get(str(record.get("verdict")), record.get("correct"))
    known = scores[~np.isnan(scores)]
    thinking, answer = split_text(record, correct, limit)
    return {
        "name": name,
        "verdict": str(record.get("verdict") or "undecided"),
        "tokens": record["tokens"],
        "thinking_tokens": record.get("thinking_tokens"),
        "answer": _cut(_visible(record.get("answer")), 200),
        "finish": record.get("finish"),
        "solved": int(known.sum()),
        "samples": len(known),
        "thinking": thinking,
        "text": answer,
    }


def split_text(
    record: dict[str, Any], correct: float | None, limit: int
) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Thinking and answer as pieces (text, True after the first correct answer).

    The answer part is marked only if it has the first correct answer: stating a result once after thinking is not waste.
    """
    text = str(record.get("text") or "")
    end = text.find(END_OF_THINKING)
    if end >= 0:
        cut = end + len(END_OF_THINKING)
    else:  # never ended; a model without thinking looks the same, unless it writes <think> or was truncated
        unended = record.get("truncated") and record.get("thinking_tokens") == record.get("tokens")
        cut = len(text) if unended or text.lstrip().startswith("<think>") else 0
    first = first_correct_position(record, correct)
    if first is None:
        first = len(text)
    if first <= cut:
        thinking, answer = [(text[:first], False), (text[first:cut], True)], [(text[cut:], False)]
    else:
        thinking, answer = [(text[:cut], False)], [(text[cut:first], False), (text[first:], True)]
    return _pieces(thinking, limit), _pieces(answer, limit)


def _pieces(parts: list[tuple[str, bool]], limit: int) -> list[tuple[str, bool]]:
    """Remove blank pieces, and blank lines at the ends."""
    shown = [(_cut(_visible(text), limit), mark) for text, mark in parts if text.strip()]
    if shown:
        shown[0] = (shown[0][0].lstrip("\n"), shown[0][1])
        shown[-1] = (shown[-1][0].rstrip(), shown[-1][1])
    return shown


def _visible(text: Any) -> str:
    """Replace control characters and lone surrogates, which are invalid in HTML."""
    return "" if text is None else CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
