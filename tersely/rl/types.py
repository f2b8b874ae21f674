"""The data that flows through a step. Pure torch: importable without TRL, vLLM or transformers.

Symbols used everywhere: P prompts, K rollouts a prompt (the group), N = P * K rows, T padded tokens, B rows of a
micro-batch. Lengths are tokens, entropies are nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tersely.rl.memory import PromptMemory


@dataclass(frozen=True)
class Rollouts:
    """Whole groups, gathered over every rank. N = P * K rows, the K rows of one prompt adjacent."""

    group_size: int
    """K, rows of one prompt."""
    prompt_id: Sequence[str]
    """(N,) stable over steps, ranks and restarts: a hash of the dataset row."""
    correct: Tensor
    """(N,) float32: 1 right, 0 wrong, nan undecided."""
    length: Tensor
    """(N,) int64 sampled completion tokens; EOS counted, prefill not."""
    truncated: Tensor
    """(N,) bool: stopped by the cap."""
    max_length: int
    """The cap, tokens."""
    progress: float = 0.0
    """Optimiser steps done / planned, in [0, 1]."""
    thinking_length: Tensor | None = None
    """(N,) int64 tokens up to and including the end of thinking."""
    well_formed: Tensor | None = None
    """(N,) bool: the output contract of the plan was met."""
    budget: Tensor | None = None
    """(N,) float32 planned or announced budget in tokens, nan where none."""
    mode: Sequence[str] | None = None
    """(N,) for example "long_cot", "code", "think", "no_think"."""
    token_ids: Tensor | None = None
    """(N, T) int64, -1 where padded; only for components that ask for it."""
    entropy: Tensor | None = None
    """(N, T) float32 nats under the sampling policy; likewise."""
    reference_score: Tensor | None = None
    """(N,) float32 mean probability of the reference answer's tokens after the rollout's reasoning; likewise."""
    reference_base: Tensor | None = None
    """(N,) float32 the same with no reasoning, by the initial policy."""
    reference_logp: Tensor | None = None
    """(N,) float32 summed log-probability of the reference answer, -inf where the rollout begins no answer."""
    reference_tokens: Tensor | None = None
    """(N,) int64 tokens of the reference answer."""
    repeated: Tensor | None = None
    """(N,) bool: a phrase of ten words stands ten times or more."""
    memory: PromptMemory | None = None

    def __post_init__(self):
        rows = self.correct.shape[0]
        if self.group_size < 1 or rows % self.group_size:
            raise ValueError(
                f"rollouts: {rows} rows are no whole number of groups of {self.group_size}; "
                "gather over every rank before computing anything on groups"
            )
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.shape[0] != rows:
                raise ValueError(f"rollouts.{name} has {value.shape[0]} rows, correct has {rows}")
        for name in ("prompt_id", "mode"):
            value = getattr(self, name)
            if value is not None and len(value) != rows:
                raise ValueError(f"rollouts.{name} has {len(value)} entries, correct has {rows} rows")

    def grouped(self, values: Tensor) -> Tensor:
        """(N, ...) -> (P, K, ...)."""
        return values.view(-1, self.group_size, *values.shape[1:])

    @property
    def decided(self) -> Tensor:
        """(N,) bool: the verifier reached a verdict."""
        return ~self.correct.isnan()

    def require(self, field: str, component: str):
        """The field, or an error that names it and who needs it."""
        value = getattr(self, field)
        if value is None:
            raise ValueError(f"{component} needs rollouts.{field}, and it is None; the plan or the trainer provides it")
        return value


@dataclass(frozen=True)
class TokenBatch:
    """One micro-batch of B completions padded to T tokens, at loss time."""

    logp: Tensor
    """(B, T) current policy, with gradient."""
    old_logp: Tensor
    """(B, T) policy that produced the batch, recomputed by the trainer."""
    entropy: Tensor
    """(B, T) nats, current policy, detached."""
    mask: Tensor
    """(B, T) 1 on trained tokens."""
    advantage: Tensor
    """(B, T)."""
    ref_logp: Tensor | None = None
    """(B, T) reference policy."""
    sampler_logp: Tensor | None = None
    """(B, T) as reported by the rollout engine."""
    live_entropy: Tensor | None = None
    """(B, T) entropy with gradient; only for policies with `needs_live_entropy`."""
    progress: float = 0.0

    def require(self, field: str, component: str) -> Tensor:
        """The field, or an error that names it and who needs it."""
        value = getattr(self, field)
        if value is None:
            raise ValueError(f"{component} needs token_batch.{field}, and it is None")
        return value

    @property
    def valid(self) -> Tensor:
        """(B, T) bool, the trained tokens."""
        return self.mask.to(torch.bool)


@dataclass(frozen=True)
class RolloutPlan:
    """What one rollout is asked to do."""

    instruction: str | None = None
    """Appended to the user's message."""
    prefill: str | None = None
    """The assistant's turn begins with this; never trained on unless `train_prefill`."""
    budget: int | None = None
    """Tokens the rollout is told or expected to spend."""
    max_new_tokens: int | None = None
    """A cap below the run's own."""
    mode: str | None = None
    train_prefill: bool = False
