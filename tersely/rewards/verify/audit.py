"""Audits a share of the verdicts with a second grader that has no code in common with the first.

The independent grader compares strings and numbers, without sympy and this package's normalisation. It decides only clear
cases and gives no verdict on the rest. Disagreements are counted, and written as JSONL for a human to read.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tersely.core.errors import require_range
from tersely.rewards.verify.verdict import Verdict

Grader = Callable[[str, str], bool | None]
"""(gold, answer) -> True (correct), False (incorrect), or None: no opinion."""


def plain_grader(gold: str, answer: str) -> bool | None:
    """Compares strings and floats: correct if the characters or the numbers are equal, incorrect if two numbers differ."""
    left, right = _plain(gold), _plain(answer)
    if left == right and left:
        return True
    values = [_float(text) for text in (left, right)]
    if values[0] is None or values[1] is None:
        return None
    if abs(values[0] - values[1]) <= 1e-9 * max(1.0, abs(values[0])):
        return True
    if abs(values[0] - values[1]) <= 1e-2 * max(1.0, abs(values[0])) or "%" in gold + answer:
        return None  # rounding and percentages depend on the policy
    return False


def _plain(text: str) -> str:
    while True:
        inner = re.fullmatch(
            r"\s*(?:\\boxed\s*\{(.*)\}|\$(.*)\$|\\\((.*)\\\)|\\text\s*\{([^{}]*)\})\s*\.?\s*", text, re.DOTALL
        )
        if inner is None:
            break
        text = next(group for group in inner.groups() if group is not None)
    return re.sub(r"\s+|\\[,;! ]|\{,\}|\\left|\\right|\$|\\%|%|\.$", "", text.replace("\\dfrac", "\\frac"))


def _float(text: str) -> float | None:
    fraction = re.fullmatch(r"(-?)(?:\\frac\{(-?\d{1,15})\}\{(\d{1,15})\}|(\d{1,15})/(\d{1,15}))", text)
    if fraction:
        sign, a, b, c, d = fraction.groups()
        below = float(b or d)
        return None if not below else (-1.0 if sign else 1.0) * float(a or c) / below
    if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d{1,15}(?:\.\d{1,15})?|-?\.\d{1,15}", text):
        return float(text.replace(",", ""))
    return None


class Audit:
    """Samples verdicts, asks the second grader, counts agreements, and writes disagreements.

    share: of the verdicts, 0 to 1, sampled by a seed and the item's number, so every run samples the same items
    path: JSONL of the disagreements; None writes none
    grader: another `Grader`, for instance a judge
    """

    def __init__(
        self, share: float = 0.05, path: str | Path | None = None, grader: Grader = plain_grader, seed: int = 0
    ):
        require_range("audit.share", share, at_least=0, at_most=1)
        self.share, self.path, self.grader, self.seed = share, Path(path) if path else None, grader, seed
        self._seen = 0
        self._counts: Counter[str] = Counter()

    def look(self, golds: Sequence[str], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
        """Audit a batch. Returns the disagreements as records, and appends them to `path`."""
        found = []
        for gold, verdict in zip(golds, verdicts, strict=True):
            self._seen += 1
            if random.Random(f"{self.seed}/{self._seen}").random() >= self.share:
                continue
            self._counts["audit/sampled"] += 1
            if verdict.answer is None or verdict.status == "undecided":
                self._counts["audit/skipped"] += 1
                continue
            opinion = self._opinion(gold, verdict.answer)
            if opinion is None:
                self._counts["audit/no_opinion"] += 1
            elif opinion == (verdict.status == "correct"):
                self._counts["audit/agree"] += 1
            else:
                self._counts["audit/disagree"] += 1
                found.append(
                    {
                        "gold": gold,
                        "answer": verdict.answer,
                        "verdict": verdict.status,
                        "path": verdict.path,
                        "second": "correct" if opinion else "incorrect",
                    }
                )
        if found and self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in found)
        return found

    def _opinion(self, gold: str, answer: str) -> bool | None:
        try:
            return self.grader(gold, answer)
        except Exception:
            self._counts["audit/failed"] += 1
            return None

    def counts(self) -> dict[str, float]:
        """audit/sampled, agree, disagree, no_opinion, skipped, failed, and the rate of disagreement among opinions."""
        decided = self._counts["audit/agree"] + self._counts["audit/disagree"]
        names = ("sampled", "agree", "disagree", "no_opinion", "skipped", "failed")
        counts: dict[str, float] = {f"audit/{name}": self._counts[f"audit/{name}"] for name in names}
        return {**counts, "audit/disagreement": self._counts["audit/disagree"] / decided if decided else 0.0}
