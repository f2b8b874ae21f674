"""Rewrites a model's correct answers into a method's form, as examples of a cold start.

A rewrite is called with the correct attempts of one prompt and returns examples: lists of spans, text and weight. The prompt
is not a span (it has weight 0), and the caller adds the end of the turn. The parsers of the same forms
are in `tersely/algorithms/prompting/{selfbudgeter,arm}.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tersely.algorithms.prompting import arm
from tersely.core.component_spec import ComponentSpec
from tersely.core.errors import ConfigError, check_fields, nearest, require_choice
from tersely.core.parse_completion import thinking_part
from tersely.eval.metrics.text import first_answer_position
from tersely.rewards.verify.extract.boxes import last_box
from tersely.rl.sft.examples import Attempt, Count, Example, Rewrite, Span
from tersely.rl.sft.self_braking import SBT


@dataclass(frozen=True)
class PlainRewrite(Rewrite):
    """Unchanged answers (rejection sampling). `keep: shortest` keeps one per prompt."""

    keep: Literal["all", "shortest"] = "all"

    def __post_init__(self) -> None:
        require_choice("rewrite plain.keep", self.keep, ("all", "shortest"))

    def __call__(self, attempts: Sequence[Attempt], count: Count) -> list[Example]:
        chosen = attempts if self.keep == "all" else [min(attempts, key=lambda a: a.length)]
        return [Example("plain", [Span(attempt.text)]) for attempt in chosen]


@dataclass(frozen=True)
class SelfBudgeterRewrite(Rewrite):
    """arXiv 2505.11274: the answer announces its length, tags included. The length of one correct greedy run becomes the
    prompt's `budget_max`."""

    memory_field: ClassVar[str | None] = "budget_max"

    def __call__(self, attempts: Sequence[Attempt], count: Count) -> list[Example]:
        return [Example("budget", self._spans(attempt, count)) for attempt in attempts]

    def _spans(self, attempt: Attempt, count: Count) -> list[Span]:
        budget = attempt.length
        for _ in range(3):  # the digits of the number are tokens too
            budget = attempt.length + count(f"<budget>{budget}</budget><solution>") + count("</solution>")
        return [Span(f"<budget>{budget}</budget><solution>"), Span(attempt.text + "</solution>")]


@dataclass(frozen=True)
class ARMRewrite(Rewrite):
    """arXiv 2505.20258: every prompt in four formats. The long chain is the longest correct attempt, the short one the
    shortest up to the line that first states the answer, the code its equations up to there as assignments, the direct one
    only the answer. (The paper's formats were written by a larger model; these are the model's own, and code is omitted for a
    chain without equations.)
    """

    def __call__(self, attempts: Sequence[Attempt], count: Count) -> list[Example]:
        ordered = sorted(attempts, key=lambda a: a.length)
        thoughts = [thinking_part(a.turn) or "" for a in ordered]
        worked = [thought.strip() for thought in thoughts if thought.strip()]
        answer = ordered[0].text.rpartition("</think>")[2].strip()
        bodies = {"direct": ""}
        if worked:
            short = until_stated(worked[0], last_box(answer) or answer)
            bodies |= {"short_cot": short, "code": code(short), "long_cot": worked[-1]}
        written = {mode: body for mode, body in bodies.items() if body or mode == "direct"}
        return [Example(mode, [Span(_formatted(mode, body, answer))]) for mode, body in written.items()]


def _formatted(mode: str, body: str, answer: str) -> str:
    part = f"<{arm.TAGS[mode]}>\n{body}\n</{arm.TAGS[mode]}>\n" if mode != "direct" else ""
    return f"{part}<ANSWER>\n{answer}\n</ANSWER>"


def until_stated(thought: str, answer: str) -> str:
    """The thought up to the end of the line that first states the answer; all of it if no line does."""
    end = first_answer_position(thought, answer)
    return thought if end is None else thought[:end] + thought[end:].partition("\n")[0]


def code(thought: str) -> str:
    """The chain's unique equations as assignments with their value in a comment; empty without equations."""
    found = re.findall(r"(\d+(?: [-+*/] \d+)+) = (-?\d+)", thought)
    return "\n".join(f"x = {left} # {right}" for left, right in dict.fromkeys(found))


@dataclass(frozen=True)
class ThinklessRewrite(Rewrite):
    """arXiv 2505.13379: a control token first, `<short>` before the shortest correct attempt without its thinking marks,
    `<think>` before the longest. (The paper's answers were written by two other models; these are the model's own.) For chat
    templates that do not open `<think>`."""

    def __call__(self, attempts: Sequence[Attempt], count: Count) -> list[Example]:
        ordered = sorted(attempts, key=lambda a: a.length)
        if ordered[0].turn.removesuffix(ordered[0].text).rstrip().endswith("<think>"):
            raise ConfigError(
                "rewrite thinkless: the chat template opens <think>, so no completion can start with <short>. Use a template "
                "that does not open it"
            )
        short = ordered[0].text.replace("<think>", "").replace("</think>", "").strip()
        long = ordered[-1].text if ordered[-1].text.startswith("<think>") else f"<think>\n{ordered[-1].text}"
        return [Example("short", [Span("<short>", exempt=True), Span(f"\n{short}")]), Example("think", [Span(long)])]


REWRITES: dict[str, type[Rewrite]] = {
    "arm": ARMRewrite,
    "plain": PlainRewrite,
    "sbt": SBT,
    "selfbudgeter": SelfBudgeterRewrite,
    "thinkless": ThinklessRewrite,
}


def build_rewrite(spec: ComponentSpec, where: str) -> Rewrite:
    """The rewrite of a spec. `ConfigError` for an unknown name or parameter, with the nearest one."""
    if spec.name not in REWRITES:
        raise ConfigError(f"{where}: rewrite: got {spec.name!r}; {nearest(spec.name, REWRITES)}")
    cls = REWRITES[spec.name]
    return cls(**check_fields(cls, spec.parameters, where=f"{where}: rewrite {spec.name}"))
