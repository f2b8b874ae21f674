"""Decodes the rows of a generation batch in phases: reminders and a forced end of thinking, by each row's plan.

    thinking    up to the next text of the plan, or to the end marker; then that text is written, and so on
    answer      after the end of thinking, or without one what the cap leaves

A plan without such texts is one request, the same as without this module. Written tokens do not count in any length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tersely.configs.thinking_budget import ThinkingBudget
from tersely.core.parse_completion import END_OF_THINKING
from tersely.core.types import RolloutPlan
from tersely.engines.base import Generation, GenerationRequest
from tersely.engines.phases import Row, Script, closed_at, draw, run_scripts, stop_at
from tersely.rl.rollouts.rollout import RolloutRound

Generate = Callable[[list[GenerationRequest]], list[Generation]]


def with_budget(plan: RolloutPlan, budget: ThinkingBudget | None, progress: float) -> RolloutPlan:
    """The plan, with the run's budget if it has none."""
    if budget is None and plan.thinking_budget is None:
        return plan
    default = budget or ThinkingBudget()
    return replace(
        plan,
        thinking_budget=default.at(progress) if plan.thinking_budget is None else plan.thinking_budget,
        forced_end=default.text if plan.forced_end is None else plan.forced_end,
        answer_tokens=default.answer_tokens if plan.answer_tokens is None else plan.answer_tokens,
    )


@dataclass(frozen=True)
class Write:
    """Ids that are written once the row has sampled `at` thinking tokens; `ends`: they end the thinking."""

    at: int
    ids: tuple[int, ...]
    ends: bool = False


def writes_of(plan: RolloutPlan, batch: RolloutRound) -> list[Write]:
    """What is written into a row of this plan, in order. Nothing if its prefill or the template closes the thinking."""
    if batch.closed_before(plan):
        return []
    last = plan.thinking_budget
    found = [Write(at, batch.encode(text)) for at, text in plan.reminders if last is None or at < last]
    if last is not None:
        found.append(Write(last, end_ids(plan.forced_end or "", batch), ends=True))
    return found


def end_ids(text: str, batch: RolloutRound) -> tuple[int, ...]:
    """Ids of a text that ends the thinking. They contain the marker's, also if the tokenizer would merge it with more."""
    ids, marker = batch.encode(text), batch.template.end_of_thinking
    if closed_at(ids, marker) is not None:
        return ids
    before, _, after = text.partition(END_OF_THINKING)
    return (*batch.encode(before), *marker, *batch.encode(after))


def script(row: Row, request: GenerationRequest, plan: RolloutPlan, batch: RolloutRound) -> Script:
    """The requests of one row. `request`: its prompt, seed and cap. A text at or after the cap is not written."""
    seed, cap, marker = request.seed, request.max_new_tokens, batch.template.end_of_thinking
    writes = [write for write in writes_of(plan, batch) if write.at < cap]
    for write in writes:
        yield from draw(row, seed, write.at - row.sampled, stop_at(marker))
        if row.finish is not None or closed_at(row.ids, marker) is not None:
            break
        row.write(write.ids)
    left = cap - row.sampled
    if writes and writes[-1].ends and plan.answer_tokens is not None:
        left = min(left, plan.answer_tokens - answered(row, marker))
    yield from draw(row, seed, left)


def answered(row: Row, marker: Sequence[int]) -> int:
    """Tokens that a thinking phase has sampled after the marker, if that is several tokens."""
    end = closed_at(row.ids, marker)
    return 0 if end is None else row.forced[end:].count(False)


def generate_rows(
    batch: RolloutRound,
    requests: Sequence[GenerationRequest],
    generate: Generate,
    left_anywhere: Callable[[int], bool] = bool,
) -> list[Generation]:
    """One generation per row of `batch`, in order. With several ranks `left_anywhere` is collective, see `run_scripts`."""
    rows = [Row(request.prompt_ids) for request in requests]
    every = zip(rows, requests, batch.plans, strict=True)
    run_scripts([script(row, request, plan, batch) for row, request, plan in every], generate, left_anywhere)
    return [row.generation() for row in rows]


def written_tokens(plan: RolloutPlan, encode: Callable[[str], Any]) -> int:
    """Largest number of tokens that are written into a row of this plan."""
    texts = [text for _, text in plan.reminders] + ([plan.forced_end] if plan.forced_end else [])
    texts += [plan.exit.text] if plan.exit is not None else []
    return sum(len(encode(text)) for text in texts)
