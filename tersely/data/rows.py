"""Converts a raw row to problem, answer and level: columns by path, extractors, and errors that name the row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tersely.configs.dataset import SourceSpec
from tersely.core.errors import nearest
from tersely.core.seeds import stable_id
from tersely.data.extract import chat_of, extractors
from tersely.data.load_report import DataError

MISSING = object()
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Problem:
    """One usable row."""

    problem: str
    answer: str
    level: str | None
    row: int
    """Index in the source, from 0."""


def lookup(row: Any, path: str) -> Any:
    """The value at a dotted path; `MISSING` if there is none.

    Keys may contain dots: at every depth the longest matching key is used. Whole numbers index lists.
    """
    if isinstance(row, Mapping):
        pieces = path.split(".")
        for size in range(len(pieces), 0, -1):
            key = ".".join(pieces[:size])
            if key in row:
                rest = ".".join(pieces[size:])
                return lookup(row[key], rest) if rest else row[key]
        return MISSING
    if isinstance(row, list | tuple):
        head, _, rest = path.partition(".")
        if head.isdigit() and int(head) < len(row):
            return lookup(row[int(head)], rest) if rest else row[int(head)]
    return MISSING


def column(row: Mapping[str, Any], path: str, meaning: str, where: str) -> Any:
    """The value at `path`. Raises `DataError` with the existing columns and the nearest one."""
    value = lookup(row, path)
    if value is MISSING:
        there = [str(key) for key in row]
        raise DataError(
            f"{where}: no column {path!r} for {meaning}; {nearest(path, there)}. "
            f"Map it: columns: {{{meaning}: <one of them>}}"
        )
    return value


class Reader:
    """Reads rows of one source. `level` is optional unless the spec maps it."""

    def __init__(self, source: SourceSpec):
        self.source = source
        self.where = f"dataset {source.label}"
        self.paths: dict[str, Any] = {"problem": "problem", "answer": "answer", **source.columns}
        self.steps: dict[str, list[Callable[[Any], Any]]] = {
            name: extractors(steps, f"{self.where}: transform: {name}") for name, steps in source.transform.items()
        }

    def read(self, row: Mapping[str, Any], where: str) -> tuple[str, str, str | None]:
        """(problem, answer, level). Raises `ValueError` (not `DataError`) for a row that an extractor rejects."""
        problem = self._value(row, "problem", where)
        answer = self._value(row, "answer", where)
        level = None
        if "level" in self.source.columns or lookup(row, "level") is not MISSING:
            level = self._apply("level", column(row, str(self.paths.get("level", "level")), "level", where))
        if self.source.choices:
            wrong = [_text(column(row, path, "choices", where)) for path in self.source.choices]
            problem, answer = with_options(_text(problem), _text(answer), wrong)
        return (
            self._checked(problem, "problem", where),
            self._checked(answer, "answer", where),
            _level(level),
        )

    def _checked(self, value: Any, name: str, where: str) -> str:
        """The value as text. For a chat, raises with the transform or path that reads it."""
        path = self.paths[name]
        if turns := chat_of(value):
            roles = [str(turn.get("role", turn.get("from"))) for turn in turns]
            fix = f"transform: {{{name}: {'first_user_turn' if name == 'problem' else 'last_assistant_turn'}}}"
            if name == "problem" and "system" in roles:
                fix += "; this drops the system turn: set it as system_prompt"
            raise DataError(f"{where}: column {path!r} for {name} is a chat ({', '.join(roles)}); write {fix}")
        if isinstance(value, list | tuple):
            raise ValueError(
                f"column {path!r} for {name} is a list of {len(value)} ({str(value)[:60]}); write "
                f"transform: {{{name}: list_first}} for its first item, or {{{name}: list_joined}} for all of them"
            )
        text = _text(value)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"column {path!r} for {name} has a lone surrogate at character {error.start} (half of a broken emoji or "
                "symbol), which cannot be tokenised"
            ) from error
        return text

    def _value(self, row: Mapping[str, Any], name: str, where: str) -> Any:
        path = self.paths[name]
        if isinstance(path, list):
            pieces = [_text(column(row, str(piece), name, where)) for piece in path]
            return self._apply(name, " ".join(piece for piece in pieces if piece))
        return self._apply(name, column(row, str(path), name, where))

    def _apply(self, name: str, value: Any) -> Any:
        for step in self.steps.get(name, ()):
            try:
                value = step(value) if value is not None else None
            except (AttributeError, TypeError, KeyError) as error:
                raise ValueError(f"{name}: {step.__name__} cannot read {type(value).__name__}: {error}") from error
        return value


def with_options(question: str, right: str, wrong: list[str]) -> tuple[str, str]:
    """(question with lettered options, letter of the correct one). The order is a hash of the text: fixed for an item,
    and the correct letter is spread evenly over items."""
    options = sorted([right, *wrong], key=lambda option: stable_id(question, option))
    lines = "\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{question}\n\n{lines}", LETTERS[options.index(right)]


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        return str(value).strip()
    raise ValueError(
        f"got {type(value).__name__}; expected text. Map a path into it (`prompt.0.content`) or set an extractor"
    )


def _level(value: Any) -> str | None:
    """The level as text; 5 and 5.0 are the same level."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value == int(value):
        value = int(value)
    return str(value)
