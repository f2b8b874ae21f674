"""Rollout records: describes each completion of a rank, gathers all ranks, and builds `Rollouts`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tersely.algorithms.objective import Scores
from tersely.core.build import numbered
from tersely.core.memory import PromptMemory
from tersely.core.types import RolloutPlan, Rollouts
from tersely.core.verifier import AnswerVerdict
from tersely.engines.phases import closed_at
from tersely.rl.rollouts.repetition import repetitive


@dataclass
class RolloutRecord:
    """One generated and verified rollout. Small and picklable, because it is gathered over ranks."""

    prompt_id: str
    correct: float
    status: str
    answer: str | None
    length: int
    thinking_length: int
    truncated: bool
    well_formed: bool
    budget: float
    mode: str | None
    text: str = ""
    problem: str = ""
    gold: str = ""
    level: str | None = None
    prompting: str = ""
    repetitive: bool = False
    forced_tokens: int = 0
    """Number of tokens that the program wrote; they are not in `length`."""
    forced_end: bool | None = None
    """The end of thinking was written; None without a thinking budget."""
    exit: int | None = None
    """Order of the exit on its trace; None for an independent rollout, like `trace` and `prefix`."""
    trace: int | None = None
    prefix: int | None = None
    """Tokens that the row shares with its trace."""
    columns: str = ""
    """JSON of the dataset's columns that a component needs."""
    family: str | None = None


OPTIONAL = ("columns", "family", "forced_tokens", "forced_end", "exit", "trace", "prefix")
"""Fields that the completions table has only if a row of the batch has a value."""


def rollout_record(
    row: dict,
    plan: RolloutPlan,
    parsed: Any,
    verdict: AnswerVerdict,
    *,
    text: str,
    tokens: Sequence[int],
    thinking: int,
    truncated: bool,
    ended: bool = False,
    forced_tokens: int = 0,
    forced_end: bool | None = None,
    prefix: int = 0,
) -> RolloutRecord:
    """Create the record of one row. The plan's budget and mode have priority over those of the completion.

    ended: an answer counts only if its completion ended by itself (see `counted`).
    """
    budget = plan.budget if plan.budget is not None else parsed.budget
    correct, status = counted(verdict, truncated, ended)
    return RolloutRecord(
        prompt_id=row["prompt_id"],
        correct=correct,
        status=status,
        answer=verdict.answer,
        length=len(tokens),
        thinking_length=thinking,
        truncated=truncated,
        well_formed=bool(parsed.well_formed),
        budget=math.nan if budget is None else float(budget),
        mode=plan.mode if plan.mode is not None else parsed.mode,
        text=text,
        problem=row["problem"],
        gold=row["answer"],
        level=row.get("level"),
        prompting=" | ".join(part for part in (plan.instruction, plan.prefill) if part),
        repetitive=repetitive(text, tokens, ended=not truncated),
        forced_tokens=forced_tokens,
        forced_end=forced_end,
        **({} if plan.exit is None else {"exit": plan.exit.order, "trace": plan.exit.trace, "prefix": prefix}),
        columns=row.get("columns", ""),
        family=row.get("family"),
    )


def counted(verdict: AnswerVerdict, truncated: bool, ended: bool) -> tuple[float, str]:
    """(correct, status). With `ended`, a correct answer in a truncated completion is incorrect, with status `not_ended`."""
    if ended and truncated and verdict.correct == 1:
        return 0.0, "not_ended"
    return verdict.correct, verdict.status


def thinking_length(token_ids: Sequence[int], end: Sequence[int]) -> int:
    """Tokens up to and including the first end-of-thinking marker; all tokens without one."""
    return closed_at(token_ids, end) or len(token_ids)


def rollouts_from_records(
    records: Sequence[RolloutRecord],
    group_size: int,
    max_length: int,
    progress: float,
    memory: PromptMemory,
    token_ids: Tensor | None = None,
    entropy: Tensor | None = None,
) -> Rollouts:
    """Gathered records, in global order, as tensors on the CPU."""
    modes = [record.mode for record in records if record.mode is not None]
    return Rollouts(
        group_size=group_size,
        prompt_id=[record.prompt_id for record in records],
        correct=torch.tensor([record.correct for record in records], dtype=torch.float32),
        length=torch.tensor([record.length for record in records], dtype=torch.int64),
        truncated=torch.tensor([record.truncated for record in records], dtype=torch.bool),
        max_length=max_length,
        progress=progress,
        thinking_length=torch.tensor([record.thinking_length for record in records], dtype=torch.int64),
        well_formed=torch.tensor([record.well_formed for record in records], dtype=torch.bool),
        budget=torch.tensor([record.budget for record in records], dtype=torch.float32),
        mode=modes if len(modes) == len(records) else None,
        token_ids=token_ids,
        entropy=entropy,
        completion_text=[record.text for record in records],
        columns=columns_of(records),
        **{name: torch.tensor([getattr(record, name) for record in records]) for name in exit_fields(records)},
        memory=memory,
    )


def exit_fields(records: Sequence[RolloutRecord]) -> tuple[str, ...]:
    """Fields that rollouts have only if their rows answer on shared traces."""
    return ("exit", "trace", "prefix") if records and all(record.exit is not None for record in records) else ()


def columns_of(records: Sequence[RolloutRecord]) -> dict[str, list[Any]] | None:
    """Name -> one value per row; None if no component needs a column."""
    if not records or not records[0].columns:
        return None
    rows = [json.loads(record.columns) for record in records]
    return {name: [row[name] for row in rows] for name in rows[0]}


def group_metrics(rollouts: Rollouts, records: Sequence[RolloutRecord], keep: Tensor) -> dict[str, float]:
    """Metrics of a step's rollouts, from raw verdicts and true lengths. Keys: groups/ efficiency/ verify/ rollout/ engine/.

    Of rollouts that answer on shared traces, efficiency/ and verify/ are of those at the latest exits.
    """
    right = (rollouts.correct == 1).view(-1, rollouts.group_size)
    wrong = (rollouts.correct == 0).view(-1, rollouts.group_size)
    mixed = right.any(1) & wrong.any(1)
    metrics = {
        "groups/mixed": mixed.double().mean().item(),
        "groups/all_correct": (right.any(1) & ~wrong.any(1)).double().mean().item(),
        "groups/all_incorrect": (wrong.any(1) & ~right.any(1)).double().mean().item(),
        "groups/kept": keep.double().mean().item(),
    }
    if rollouts.exit is None:
        return behaviour_metrics(rollouts, records) | metrics
    metrics["engine/tokens"] = float(tokens_drawn(rollouts))
    latest = latest_exits(rollouts)
    chosen = [record for record, last in zip(records, latest.tolist(), strict=True) if last]
    return behaviour_metrics(replace(rollouts, group_size=1).at(latest.nonzero().flatten().tolist()), chosen) | metrics


def latest_exits(rollouts: Rollouts) -> Tensor:
    """(N,) bool: the row leaves its trace at the trace's latest exit."""
    exits = rollouts.grouped(rollouts.require("exit", "latest_exits"))
    traces = rollouts.grouped(rollouts.require("trace", "latest_exits"))
    same = traces.unsqueeze(2) == traces.unsqueeze(1)
    return (exits == torch.where(same, exits.unsqueeze(1), -1).amax(2)).flatten()


def tokens_drawn(rollouts: Rollouts) -> int:
    """Tokens that were sampled for rows with exits: each trace once, plus the answers."""
    shared = torch.minimum(rollouts.require("prefix", "tokens_drawn"), rollouts.length)
    group = torch.arange(len(shared)) // rollouts.group_size
    keys = torch.stack([group, rollouts.require("trace", "tokens_drawn")], dim=1)
    _, trace = keys.unique(dim=0, return_inverse=True)
    longest = torch.zeros(int(trace.max()) + 1, dtype=shared.dtype).scatter_reduce(0, trace, shared, "amax")
    return int(longest.sum() + (rollouts.length - shared).sum())


def behaviour_metrics(rollouts: Rollouts, records: Sequence[RolloutRecord]) -> dict[str, float]:
    """The metrics of a step's rollouts that do not depend on their groups."""
    right, decided = rollouts.correct == 1, rollouts.decided
    length, total = rollouts.length.double(), len(records)
    metrics = {
        "verify/accuracy": _mean(rollouts.correct[decided].double()),
        "verify/undecided": 1.0 - decided.double().mean().item(),
        "verify/not_ended": sum(record.status == "not_ended" for record in records) / total,
        "verify/no_answer": sum(record.status == "no_answer" for record in records) / total,
        "efficiency/tokens_mean": length.mean().item(),
        "efficiency/tokens_p95": length.quantile(0.95).item(),
        "efficiency/cap_share": length.mean().item() / max(rollouts.max_length, 1),
        "efficiency/tail_ratio": (length.max() / length.mean().clamp(min=1)).item(),
        "efficiency/tokens_correct": _mean(length[rollouts.correct == 1]),
        "efficiency/tokens_incorrect": _mean(length[rollouts.correct == 0]),
        "efficiency/tokens_per_solved": (length.sum() / right.sum().clamp(min=1)).item() if right.any() else math.nan,
        "efficiency/repetitive": sum(record.repetitive for record in records) / total,
        "efficiency/truncated": rollouts.truncated.double().mean().item(),
        "efficiency/well_formed": sum(record.well_formed for record in records) / total,
    }
    forced = torch.tensor([record.forced_end is True for record in records])
    if any(record.forced_end is not None for record in records):
        metrics["rollout/forced"] = forced.double().mean().item()
        metrics["rollout/forced_right"] = _mean(rollouts.correct[forced & decided].double())
    if rollouts.thinking_length is not None:
        metrics["efficiency/thinking_tokens"] = rollouts.thinking_length.double().mean().item()
    return metrics


def _mean(values: Tensor) -> float:
    return values.mean().item() if values.numel() else math.nan


def completion_rows(records: list[RolloutRecord], scores: Scores, names: Sequence[str], group_size: int) -> list[dict]:
    """Rows of the completions table, one per rollout: record, each term before and after its weight, advantage."""
    kept = scores.keep.repeat_interleave(group_size)
    trained = (kept if scores.masked is None else kept & ~scores.masked).tolist()
    advantage = row_advantages(records, scores)
    columns, weighted, names = scores.columns, scores.columns * scores.weights, numbered(names)
    unused = {name for name in OPTIONAL if not any(getattr(record, name) not in (None, "", 0) for record in records)}
    return [
        {
            **{name: value for name, value in vars(record).items() if name not in unused},
            "reward": scores.reward[i].item(),
            **{f"reward/{name}": columns[i, j].item() for j, name in enumerate(names)},
            **{f"weighted/{name}": weighted[i, j].item() for j, name in enumerate(names)},
            "advantage": advantage[i],
            "trained": trained[i],
        }
        for i, record in enumerate(records)
    ]


def row_advantages(records: list[RolloutRecord], scores: Scores) -> list[float]:
    """One number per rollout: the mean over its tokens if the advantage is per token."""
    advantage = scores.advantage
    if advantage.dim() == 2:
        advantage = advantage.sum(1) / torch.tensor([max(record.length, 1) for record in records])
    return advantage.tolist()
