"""Data types of a training step. Pure torch: importable without TRL, vLLM or transformers.

Symbols used everywhere: P prompts, K rollouts per prompt (the group), N = P * K rows, T padded tokens, B rows of a
micro-batch. Lengths are tokens, entropies are nats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tersely.core.errors import ConfigError
from tersely.core.memory import PromptMemory

COLUMN = "columns:"
"""Prefix in `needs`: `needs = ("columns:level",)` requests the dataset's column `level`."""


@dataclass(frozen=True)
class Rollouts:
    """Whole groups, gathered over all ranks. N = P * K rows, the K rows of one prompt adjacent. On the CPU.

    The text of a field is `shape and type: meaning, source. When it is None.` docs/reference.md is generated from it.
    """

    group_size: int
    """int: K, rows of one prompt. The recipe's group_size."""
    prompt_id: Sequence[str]
    """(N,) str: a hash of the dataset's row, stable over steps, ranks and restarts."""
    correct: Tensor
    """(N,) float32: 1 correct, 0 incorrect, nan undecided. The verifier."""
    length: Tensor
    """(N,) int64 tokens: sampled completion tokens; EOS counts, a prefill does not."""
    truncated: Tensor
    """(N,) bool: stopped by the cap."""
    max_length: int
    """int tokens: the cap. The stage's max_completion_length."""
    progress: float = 0.0
    """float in [0, 1]: optimizer steps done / planned, of this stage."""
    thinking_length: Tensor | None = None
    """(N,) int64 tokens: up to and including the first `</think>`, all sampled tokens where there is none, 0 where a prefill
    closed the thinking. None only in rollouts made by hand."""
    well_formed: Tensor | None = None
    """(N,) bool: the row keeps the output contract: the prompting's, or by default at most one thinking block with an
    answer after it. None only in rollouts made by hand."""
    budget: Tensor | None = None
    """(N,) float32 tokens: budget from the prompting, otherwise from the completion; nan without either. None only in
    rollouts made by hand."""
    mode: Sequence[str] | None = None
    """(N,) str: mode from the prompting, such as "long_cot"; otherwise "think", "no_think" or "short", read from the
    completion. None if the prompting sets no mode for some rows."""
    token_ids: Tensor | None = None
    """(N, T) int64 token ids: the completion, a trained prefill included; -1 is padding. None unless in `needs`."""
    entropy: Tensor | None = None
    """(N, T) float32 nats: entropy of each token's distribution, by a pass of the policy that sampled; 0 on padding. None
    unless in `needs`; costs a forward pass if the trainer does none."""
    thinking_end: Tensor | None = None
    """(N,) int64: positions before the first end-of-thinking marker, or before the forced text with it; all positions of
    the row without one. None unless in `needs`."""
    answer_start: Tensor | None = None
    """(N,) int64: first position after the marker, or after the forced text with it; all positions of the row without
    one. None unless in `needs`."""
    step: Tensor | None = None
    """(N, T) int64: number 0, 1, .. of each position's step, -1 on padding. A token whose own text has two newlines is the last
    of its step. None unless in `needs`."""
    old_logp: Tensor | None = None
    """(N, T) float32 nats: log-probability of each token at the training temperature, by a pass of the policy that sampled; 0
    on padding. None unless in `needs`; costs a forward pass if the trainer does none."""
    reflections: Tensor | None = None
    """(N,) int64: reflection words in the completion, such as "wait" and "however". None unless in `needs`."""
    forced: Tensor | None = None
    """(N, T) bool: written by the program, not sampled. None unless the batch has such a token."""
    cut: Tensor | None = None
    """(N,) bool: shortened by the `trim` slot before scoring. None unless a row was."""
    exit: Tensor | None = None
    """(N,) int64: order of the row's exit on its trace, 0 is the earliest. None unless the prompting makes exits."""
    trace: Tensor | None = None
    """(N,) int64: number of the row's trace in its group. None unless the prompting makes exits."""
    prefix: Tensor | None = None
    """(N,) int64: positions that the row shares with its trace. None unless the prompting makes exits."""
    reference_score: Tensor | None = None
    """(N,) float32 probability: mean over the reference answer's tokens, after the rollout's reasoning. None unless in
    `needs`; it costs a forward pass."""
    reference_base: Tensor | None = None
    """(N,) float32 probability: the same with no reasoning, by the initial policy. None unless in `needs`."""
    reference_logp: Tensor | None = None
    """(N,) float32 nats: summed log-probability of the reference answer, -inf if the rollout has no answer. None unless
    in `needs`; costs a forward pass."""
    reference_tokens: Tensor | None = None
    """(N,) int64: tokens of the reference answer. None unless in `needs`."""
    repeated: Tensor | None = None
    """(N,) bool: a phrase of ten words occurs ten times or more. None unless in `needs`."""
    completion_text: Sequence[str] | None = None
    """(N,) str: the model's text without special tokens, prefill included. None only in rollouts made by hand."""
    columns: Mapping[str, Sequence[Any]] | None = None
    """name -> (N,): values of the dataset's columns, null is None; read them with `rollouts.column(name)`. None unless
    `needs` has "columns:<name>"."""
    memory: PromptMemory | None = None
    """PromptMemory: small records by prompt id, equal on every rank and saved with the checkpoint. None only in rollouts made
    by hand."""

    def __post_init__(self) -> None:
        rows = self.correct.shape[0]
        if self.group_size < 1 or rows % self.group_size:
            raise ValueError(
                f"rollouts: {rows} rows is not a multiple of group_size {self.group_size}. Gather over all ranks before "
                "computing anything on groups"
            )
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.shape[0] != rows:
                raise ValueError(f"rollouts.{name}: got {value.shape[0]} rows; expected {rows}, as in correct")
        for name in LISTS:
            value = getattr(self, name)
            if value is not None and len(value) != rows:
                raise ValueError(f"rollouts.{name}: got {len(value)} entries; expected {rows}, as in correct")
        for name, column in (self.columns or {}).items():
            if len(column) != rows:
                raise ValueError(f"rollouts column {name!r}: got {len(column)} entries; expected {rows}, as in correct")

    def column(self, name: str) -> Sequence[Any]:
        """(N,) values of a data-set column, for a class with `needs = ("columns:<name>",)`."""
        try:
            return (self.columns or {})[name]
        except KeyError:
            raise ConfigError(
                f'rollouts have no column {name!r}. Add needs = ("{COLUMN}{name}",) to the class that reads it'
            ) from None

    def at(self, rows: Sequence[int]) -> Rollouts:
        """The rows with these numbers, in this order; must be whole groups."""
        changes: dict[str, Any] = {
            name: value[list(rows)] for name, value in vars(self).items() if isinstance(value, Tensor) and value.dim()
        }
        changes |= {name: [value[i] for i in rows] for name in LISTS if (value := getattr(self, name)) is not None}
        if self.columns is not None:
            changes["columns"] = {name: [column[i] for i in rows] for name, column in self.columns.items()}
        return replace(self, **changes)

    def grouped(self, values: Tensor) -> Tensor:
        """(N, ...) -> (P, K, ...)."""
        return values.view(-1, self.group_size, *values.shape[1:])

    @property
    def decided(self) -> Tensor:
        """(N,) bool: the verifier reached a verdict."""
        return ~self.correct.isnan()

    def require(self, field: str, component: str) -> Any:
        """The field, or an error that names it and who needs it."""
        value = getattr(self, field)
        if value is None:
            raise ValueError(
                f"rollouts.{field}: got None; {component} needs it. The prompting or the trainer provides it"
            )
        return value


LISTS = ("prompt_id", "mode", "completion_text")
"""Fields of `Rollouts` that are lists with one entry per row."""
FIELDS = tuple(field.name for field in fields(Rollouts) if field.name != "columns")
"""Fields that a component may list in `needs`, apart from columns."""


def columns_in(needs: Iterable[str]) -> list[str]:
    """The data-set columns among `needs`, sorted."""
    return sorted({need.removeprefix(COLUMN) for need in needs if need.startswith(COLUMN)})


@dataclass(frozen=True)
class TokenBatch:
    """One micro-batch of B completions padded to T tokens, at loss time, on the rank's device."""

    logp: Tensor
    """(B, T) float nats: log-probability of each token under the current policy, with gradient."""
    old_logp: Tensor
    """(B, T) float nats: the same under the policy that sampled the batch, recomputed by the trainer."""
    entropy: Tensor
    """(B, T) float nats: of the current policy's distribution, without gradient."""
    mask: Tensor
    """(B, T) int64: 1 on trained tokens, 0 on padding, on text that the program wrote and on rows of filtered groups."""
    advantage: Tensor
    """(B, T) float: from the advantage slot; one value per row is repeated over its tokens."""
    ref_logp: Tensor | None = None
    """(B, T) float nats: log-probability under the reference model. None unless the loss has
    `needs_ref_logp = True` or the recipe `beta` above 0."""
    sampler_logp: Tensor | None = None
    """(B, T) float nats: log-probability from the rollout engine, nan on tokens that were not sampled. None with engine:
    transformers."""
    live_entropy: Tensor | None = None
    """(B, T) float nats: entropy with gradient. None unless the loss has `needs_live_entropy = True`."""
    compared: Mapping[str, Tensor] | None = None
    """name -> (B, T) float: what the loss's `compare` returned, 0 on padding; with gradient. None unless the loss has
    `teachers`."""
    progress: float = 0.0
    """float in [0, 1]: optimizer steps done / planned, of this stage."""

    def require(self, field: str, component: str) -> Any:
        """The field, or an error that names it and who needs it."""
        value = getattr(self, field)
        if value is None:
            raise ValueError(f"token_batch.{field}: got None; {component} needs it")
        return value

    @property
    def valid(self) -> Tensor:
        """(B, T) bool: the trained tokens."""
        return self.mask.to(torch.bool)


@dataclass(frozen=True)
class Teacher:
    """A second distribution over each token of a completion, for a loss: a model, and the prompt that it reads."""

    instruction: str | None = None
    """Written before the last user message, with a blank line between. None: the prompt of the rollout."""
    model: str | None = None
    """Folder or hub id of a model with the vocabulary of the trained one. None: the reference model."""
    update_steps: int | None = None
    """Optimizer steps between two copies of the trained weights to the reference model. None: it does not change."""


@dataclass(frozen=True)
class Exit:
    """How a rollout answers early on a trace that it shares with other rollouts of its group."""

    trace: int = 0
    """Number of the trace in the group."""
    order: int = 0
    """Order of the exit on its trace, 0 is the earliest."""
    answer: int = 0
    """Number of the answer at this exit."""
    position: int | None = None
    """Thinking tokens of the trace that the row keeps. None: one of `exits` random positions."""
    exits: int = 1
    """Number of random exits of the trace."""
    whole: bool = False
    """The row is the trace itself."""
    text: str = "\n</think>\n\n"
    """Text with `</think>` that is written after the kept tokens."""
    closed_text: str | None = None
    """With `trace_tokens`: text after a trace that ended its thinking before the position."""
    answer_tokens: int = 1024
    """Cap of the answer, tokens; the row's cap also holds."""
    trace_tokens: int | None = None
    """The trace stops at the end of its thinking, and at this many tokens. None: it is an ordinary rollout."""
    trains_prefix: bool = True
    """Train on the tokens that the row shares with its trace."""


@dataclass(frozen=True)
class RolloutPlan:
    """The plan of one rollout: instruction, prefill, budget and mode."""

    instruction: str | None = None
    """Appended to the user's message."""
    prefill: str | None = None
    """Start of the assistant's turn; not trained on unless `train_prefill`."""
    budget: int | None = None
    """Token budget of the rollout, stated or expected."""
    max_new_tokens: int | None = None
    """Token cap below the run's cap."""
    mode: str | None = None
    train_prefill: bool = False
    thinking_budget: int | None = None
    """Sampled thinking tokens after which `forced_end` is written. None: the recipe's thinking_budget, if any."""
    forced_end: str | None = None
    """Text with `</think>` that ends the thinking at its budget. None: the recipe's."""
    answer_tokens: int | None = None
    """Cap of the answer in tokens, with a budget. None: the recipe's, or what the row's cap leaves."""
    reminders: tuple[tuple[int, str], ...] = ()
    """(sampled thinking tokens, text), ascending: text that is written there while the row still thinks."""
    train_forced: bool = False
    """Train on the written texts too."""
    exit: Exit | None = None
    """The row answers early on a shared trace. None: it is an independent rollout."""
