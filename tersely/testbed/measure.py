"""Measures the testbed's model: accuracy and tokens by level, and the benefit of longer answers.

    tersely testbed measure [--model DIR] [--problems 288] [--samples 16]

Sampling at temperature 1 on problems of the test split, levels in equal shares.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tersely.testbed.tasks import LEVELS, problems

CAP = 320
BATCH = 384
STYLES = ("none", "merged", "single", "checked")


@dataclass(frozen=True)
class Attempt:
    """One sampled completion; `length` in tokens, including the end token."""

    problem: str
    level: int
    text: str
    right: bool
    length: int
    truncated: bool

    @property
    def style(self) -> str:
        """Style of the first pass, one of STYLES; a level-1 "merged" step counts as single."""
        first = self.text.split("Got", 1)[0]
        if first.startswith("</think>"):
            return "none"
        if ", ok" in first or ", no" in first:
            return "checked"
        return "merged" if re.search(r"[+-] \d+ [+-] \d+ =", first) else "single"

    @property
    def rounds(self) -> int:
        """Number of rounds of doubt: walks back, second and third passes."""
        return len(re.findall(r"Check it|Wait", self.text))


def attempts(
    model_dir: str | Path, count: int, samples: int, seed: int = 0, split: str = "test", cap: int = CAP
) -> list[Attempt]:
    """`samples` completions at temperature 1 for each of `count` problems, grouped by problem."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tersely.testbed.sample import sample

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    rows = [row for row in problems(split, count, seed) for _ in range(samples)]
    found = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": row["problem"]}], add_generation_prompt=True, return_dict=False
            )
            for row in part
        ]
        ids = sample(
            model,
            prompts,
            max_new_tokens=cap,
            end_id=tokenizer.eos_token_id,
            pad_id=tokenizer.pad_token_id,
            seed=seed + start,
        )
        for row, completion in zip(part, ids, strict=True):
            text = tokenizer.decode(completion, skip_special_tokens=True)
            ended = completion[-1] == tokenizer.eos_token_id
            right = ended and boxed(text) == row["answer"]
            found.append(Attempt(str(row["problem"]), int(str(row["level"])), text, right, len(completion), not ended))
    return found


def boxed(text: str) -> str | None:
    r"""The number in the first \boxed{} after the thought, or None."""
    match = re.search(r"\\boxed\{(-?\d+)\}", text.rsplit("</think>", 1)[-1])
    return match.group(1) if match else None


def level_table(found: Sequence[Attempt]) -> list[list[str]]:
    """One row per level, and one for all; the README explains the columns."""
    table = [["level", "pass@1", "tokens", "shortest", "ratio", "sd", "cut", "short half", "long half", "mixed"]]
    for name, part in [*((str(level), [a for a in found if a.level == level]) for level in LEVELS), ("all", found)]:
        groups = list(_by_problem(part))
        solved = [g for g in groups if any(a.right for a in g)]
        shortest = _mean(min(a.length for a in g if a.right) for g in solved)
        usual = _mean(_mean(a.length for a in g) for g in solved)
        halves = [_halves(group) for group in groups]
        table.append(
            [
                name,
                f"{_mean(a.right for a in part):.3f}",
                f"{_mean(a.length for a in part):.1f}",
                f"{shortest:.1f}",
                f"{usual / shortest:.2f}",
                f"{_mean(statistics.pstdev([a.length for a in g]) for g in groups):.1f}",
                f"{_mean(a.truncated for a in part):.3f}",
                f"{_mean(short for short, _ in halves):.3f}",
                f"{_mean(long for _, long in halves):.3f}",
                f"{_mean(0 < sum(a.right for a in g) < len(g) for g in groups):.2f}",
            ]
        )
    return table


def _styled(style: str, doubted: bool) -> Callable[[Attempt], bool]:
    return lambda attempt: attempt.style == style and (attempt.rounds > 0) == doubted


def style_table(found: Sequence[Attempt]) -> list[list[str]]:
    """Rows: step size of the first pass, with and without doubt; share, tokens, pass@1 on easy and hard levels."""
    easy, hard = set(LEVELS[:2]), set(LEVELS[-2:])
    table = [["first pass", "doubt", "share", "tokens", "easy pass@1", "hard pass@1", "hard tokens"]]
    cases: list[tuple[str, str, Callable[[Attempt], bool]]] = [("none", "", lambda a: a.style == "none")]
    for style in STYLES[1:]:
        cases += [(style, "no", _styled(style, doubted=False)), (style, "yes", _styled(style, doubted=True))]
    for style, doubt, chosen in cases:
        part = [a for a in found if chosen(a)]
        table.append(
            [
                style,
                doubt,
                f"{len(part) / len(found):.3f}",
                f"{_mean(a.length for a in part):.1f}",
                f"{_mean(a.right for a in part if a.level in easy):.3f}",
                f"{_mean(a.right for a in part if a.level in hard):.3f}",
                f"{_mean(a.length for a in part if a.level in hard):.1f}",
            ]
        )
    return table


def _by_problem(found: Iterable[Attempt]) -> Iterable[list[Attempt]]:
    groups: dict[str, list[Attempt]] = {}
    for attempt in found:
        groups.setdefault(attempt.problem, []).append(attempt)
    return groups.values()


def _halves(group: list[Attempt]) -> tuple[float, float]:
    """Accuracy of the shorter and of the longer half of one problem's attempts."""
    ordered = sorted(group, key=lambda a: a.length)
    half = len(ordered) // 2
    return _mean(a.right for a in ordered[:half]), _mean(a.right for a in ordered[len(ordered) - half :])


def _mean(values: Iterable[float]) -> float:
    items = [float(value) for value in values]
    return sum(items) / len(items) if items else float("nan")


def show(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
