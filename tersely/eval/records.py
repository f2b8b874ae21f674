"""Reads and writes records.jsonl: one line per evaluated sample. Reports are computed from it.

Keys of a line:
    run, benchmark, problem_id, sample, seed, level (or null), problem, gold, text (the completion), tokens (all generated,
    EOS and injected ones counted), thinking_tokens (up to and including the end of thinking; all if it never ended),
    truncated, verdict (correct | incorrect | no_answer | undecided), correct (1 | 0 | null = undecided), answer (extracted, or
    null), finish (stop | length | ...), strategy (decoding strategy, or null).
    Optional: family (group of the problem), first_correct (tokens up to the first correct answer, or null), wall_s (the
    sample's share, by tokens, of its batch's seconds), budget (requested tokens), extra_tokens (probes and discarded branches,
    counted in tokens), injected_tokens, phases ([phase, tokens] in order), second (another grader's correct | incorrect |
    null); other keys are kept and ignored.
A writer killed in the middle of a line loses only that line: the reader drops and counts it, the next writer removes it.
Model text is stored unchanged; code that displays it must escape it.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from tersely.core.errors import ConfigError

KEYS = (
    "run",
    "benchmark",
    "problem_id",
    "sample",
    "seed",
    "level",
    "problem",
    "gold",
    "text",
    "tokens",
    "thinking_tokens",
    "truncated",
    "verdict",
    "correct",
    "answer",
    "finish",
    "strategy",
)
NEEDED = ("benchmark", "problem_id", "tokens")
SCORES = {"correct": 1.0, "incorrect": 0.0, "no_answer": 0.0, "undecided": None}
FILE = "records.jsonl"
W = TypeVar("W", bound="RecordWriter")


class RecordWriter:
    """Appends records to a file; flushes every line, and syncs to disk every `fsync_s` seconds and on close.

    Opening removes an unfinished last line. Raises ValueError for a record without one of KEYS, or with a verdict that
    contradicts its `correct`.
    """

    def __init__(self, path: str | Path, fsync_s: float = 2.0):
        self.path, self.fsync_s = Path(path), fsync_s
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.cut = cut_unfinished_line(self.path)
        self._file = self.path.open("ab")
        self._synced = time.monotonic()

    def write(self, record: Mapping[str, Any]) -> None:
        check_record(record)
        line = json.dumps(dict(record), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
        self._file.write(line.encode("utf-8", "backslashreplace"))  # a lone surrogate cannot be encoded
        self._file.flush()
        if time.monotonic() - self._synced >= self.fsync_s:
            self._sync()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            self._sync()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def check_record(record: Mapping[str, Any]) -> None:
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise ConfigError(f"record: missing {', '.join(missing)}; expected {', '.join(KEYS)}")
    if record["verdict"] not in SCORES:
        raise ConfigError(f"record.verdict: got {record['verdict']!r}; expected one of {', '.join(SCORES)}")
    if record["correct"] != SCORES[record["verdict"]]:
        raise ConfigError(
            f"record.correct: got {record['correct']!r} with verdict {record['verdict']!r}; they must agree"
        )


def cut_unfinished_line(path: Path) -> int:
    """Remove a last line without a line feed; returns the number of bytes."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        keep, block = size, b""
        while keep > 0 and not block.endswith(b"\n"):
            step = min(keep, 1 << 16)
            file.seek(keep - step)
            block = file.read(step)
            newline = block.rfind(b"\n")
            keep = keep - step + newline + 1
            block = block[: newline + 1]
        if keep < size:
            file.truncate(keep)
            os.fsync(file.fileno())
    return size - keep


class RecordReader:
    """Iterates over (offset, record) of a file; `dropped` counts an unfinished or unreadable last line.

    Raises ValueError with file and line number for an unreadable line before the last, a missing key, or an invalid value.
    """

    def __init__(self, path: str | Path):
        self.path, self.dropped = Path(path), 0

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        self.dropped = 0
        bad: tuple[int, str] | None = None
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if bad:
                    raise ConfigError(
                        f"{self.path}:{bad[0]}: {bad[1]}. Remove the line; `tersely eval` generates the sample again"
                    )
                start, offset = offset, offset + len(line)
                if not line.strip():
                    continue
                record, problem = _parse(line)
                if record is None:
                    bad = (number, problem)
                elif fault := value_fault(record):
                    raise ConfigError(f"{self.path}:{number}: {fault}")
                else:
                    yield start, record
        self.dropped = int(bad is not None)


def _parse(line: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        record = json.loads(line)
    except ValueError as error:  # JSON or UTF-8 error
        return None, f"invalid JSON ({error})"
    if not isinstance(record, dict):
        return None, "expected a JSON object"
    missing = [key for key in NEEDED if record.get(key) is None]
    if missing:
        theirs = "; import files of other harnesses with `tersely interop import`" if "doc" in record else ""
        return None, f"lacks {', '.join(missing)}{theirs}"
    return record, ""


def value_fault(record: Mapping[str, Any]) -> str:
    """Error text for the values of a record, or ""; null means unknown."""
    for key in ("tokens", "thinking_tokens", "first_correct", "budget"):
        value = record.get(key)
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value < math.inf):
            return f"{key}: got {value!r}; expected a number of tokens, 0 or more"
    for key in ("correct", "truncated"):
        value = record.get(key)
        if value not in (None, 0, 1) and value == value:  # nan is undecided
            return f"{key}: got {value!r}; expected 1, 0 or null"
    verdict = record.get("verdict")
    if verdict is not None and not (isinstance(verdict, str) and verdict in SCORES):
        return f"verdict: got {verdict!r}; expected one of {', '.join(SCORES)}, or null"
    for key, kinds in (("text", (str,)), ("sample", (str, int, float)), ("strategy", (str, dict))):
        if record.get(key) is not None and not isinstance(record[key], kinds):
            return f"{key}: got {str(record[key])[:60]!r}; expected {' or '.join(kind.__name__ for kind in kinds)}"
    return ""


def read_at(path: str | Path, offset: int) -> dict[str, Any]:
    """The record that starts at byte `offset`."""
    with Path(path).open("rb") as file:
        file.seek(offset)
        return json.loads(file.readline())
