"""The load report of a dataset: how many rows were read, kept and dropped, and why."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tersely.core.errors import ConfigError


class DataError(ConfigError):
    """Data that does not match its spec; the message names the source, the row or column, and a fix."""


@dataclass
class SourceCard:
    """Counts of one source. `read == kept + sum(dropped)` before mixing; `used`: rows in the mix."""

    source: str
    read: int = 0
    kept: int = 0
    used: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> first row that was dropped for it."""
    notes: list[str] = field(default_factory=list)
    scorer: dict[str, Any] | None = None
    """Name and threshold of the scorer that grades the answers; None for the verifier's comparison."""

    def drop(self, reason: str, example: str) -> None:
        self.dropped[reason] += 1
        self.examples.setdefault(reason, example)

    def line(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))
        used = "" if self.used == self.kept else f", {self.used} used in the mix"
        line = f"{self.source}: {self.read} read, {self.kept} kept{used}" + (f"; dropped: {reasons}" if reasons else "")
        scorer = self.scorer
        return line if scorer is None else f"{line}; graded by {scorer['name']}, correct from {scorer['threshold']:g}"


@dataclass
class DataCard:
    """Counts of a whole load, and the fingerprint of the result."""

    sources: list[SourceCard]
    rows: int = 0
    fingerprint: str = ""
    instruction: str | None = None
    """The run's instruction; None if each source keeps its own."""
    system_prompt: str | None = None
    prompt: str | None = None
    """The first prompt as the model sees it, with template, system prompt, instruction and prefill."""
    longest_prompt: int | None = None
    """Longest prompt of the dataset, tokens."""

    def text(self) -> str:
        """One line per source, its notes, and a line for the total."""
        lines = [f"data: {source.line()}" for source in self.sources]
        lines += [f"data: note: {source.source}: {note}" for source in self.sources for note in source.notes]
        return "\n".join([*lines, f"data: {self.rows} problems, fingerprint {self.fingerprint}"])

    def to_json(self) -> str:
        sources = [{**vars(source), "dropped": dict(source.dropped)} for source in self.sources]
        return json.dumps({**vars(self), "sources": sources}, ensure_ascii=False)
