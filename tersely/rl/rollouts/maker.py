"""Makes the rollouts of this rank: plans prompts, generates with the engine, and starts verification.

It has the parts of a training step that do not depend on the trained model or the update. `resample.py` replaces filtered
groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from tersely.algorithms.objective import Objective
from tersely.configs.thinking_budget import ThinkingBudget
from tersely.core.memory import PromptMemory
from tersely.core.types import RolloutPlan, Rollouts
from tersely.engines.base import Engine, Generation, GenerationRequest
from tersely.rl.rollouts.exits import generate_exits
from tersely.rl.rollouts.grading import Grader
from tersely.rl.rollouts.phased import generate_rows, with_budget
from tersely.rl.rollouts.record import RolloutRecord, rollouts_from_records
from tersely.rl.rollouts.rollout import RolloutRound, Template
from tersely.rl.rollouts.sampling_state import SamplingState

Decode = Callable[..., list[Generation]]
"""`generate_rows` or `generate_exits`."""


@dataclass(frozen=True)
class BatchShape:
    """Settings of this rank's generation batch and its sampling."""

    group_size: int
    cap: int
    """Maximum tokens per completion."""
    seed: int
    top_p: float = 1.0
    top_k: int = 0
    rank: int = 0
    ranks: int = 1

    @classmethod
    def of(cls, args: Any, rank: int, ranks: int) -> BatchShape:
        """`args` is TRL's GRPOConfig."""
        group_size, cap = args.num_generations, args.max_completion_length
        return cls(group_size, cap, args.seed, args.top_p, args.top_k or 0, rank, ranks)


@dataclass(frozen=True)
class Moment:
    """Position of a generation batch in the run."""

    step: int
    """Optimizer steps so far, of all stages."""
    progress: float
    """Share of this stage's steps."""
    stage_step: int = 0
    """Optimizer steps so far, of this stage."""


@dataclass
class Resampling:
    """Statistics of one generation batch."""

    filtered: list[RolloutRecord] = field(default_factory=list)
    """Rows of the groups that were filtered and replaced, over all ranks."""
    groups: int = 0
    rounds: int = 0
    surplus: list[RolloutRecord] = field(default_factory=list)
    """Rows of the groups beyond the batch that passed the filter and were not needed."""
    beyond: int | None = None
    """Groups generated beyond the batch; None without oversampling."""

    @property
    def records(self) -> list[RolloutRecord]:
        """Rows of all verified groups that are not in the batch."""
        return self.filtered + self.surplus

    def kept(self, group_size: int) -> Tensor:
        """bool, one per group of `records`: it passed the filter."""
        return torch.arange(len(self.records) // group_size) >= len(self.filtered) // group_size

    def metrics(self) -> dict[str, float]:
        found = {"groups/resampled": float(self.groups), "groups/resample_rounds": float(self.rounds)}
        return found | ({} if self.beyond is None else {"groups/oversampled": float(self.beyond)})


@dataclass(frozen=True)
class Sampled:
    """Rollouts of this rank, while the grader verifies them."""

    rollouts: RolloutRound
    sampling_state: SamplingState
    resampling: Resampling


@dataclass(frozen=True)
class RolloutMaker:
    """Makes rollouts. `dataset` returns a row by index."""

    objective: Objective
    memory: PromptMemory
    engine: Engine
    grader: Grader
    tokenizer: Any
    template: Template
    chat_template_kwargs: dict[str, Any]
    dataset: Any
    shape: BatchShape
    budget: ThinkingBudget | None = None

    def plans(self, prompt_ids: Sequence[str], moment: Moment) -> list[RolloutPlan]:
        """The plans of whole groups, one group per prompt id, with the run's thinking budget."""
        arguments = (list(prompt_ids), self.shape.group_size, self.memory, self.shape.seed)
        plans = self.objective.prompting.plans(*arguments, step=moment.stage_step)
        return [with_budget(plan, self.budget, moment.progress) for plan in plans]

    @property
    def makes_exits(self) -> bool:
        """True if the rows of a group answer on shared traces."""
        return any(plan.exit is not None for plan in self.plans(["probe"], Moment(0, 0.0)))

    def begin(self, rows: list[dict[str, Any]], moment: Moment = Moment(0, 0.0)) -> RolloutRound:
        """This rank's rows with their plans; prompting plans whole groups of the whole batch. Collective."""
        group, first = self.shape.group_size, self.shape.rank * len(rows)
        ids = gather_object([row["prompt_id"] for row in rows])
        plans = self.plans(ids[::group], moment)[first : first + len(rows)]
        batch = RolloutRound(rows, plans, self.tokenizer, self.template, dict(self.chat_template_kwargs))
        batch.tokenize()
        return batch

    def requests(self, batch: RolloutRound, moment: Moment, first_row: int = 0) -> list[GenerationRequest]:
        """One request per row of `batch`; `first_row`: index of its first row in the global batch."""
        shape = self.shape
        return batch.requests(
            seed=shape.seed, step=moment.step, first_row=first_row, group_size=shape.group_size, cap=shape.cap
        )

    def sampling(self, sampling_state: SamplingState) -> dict[str, Any]:
        """The arguments of the engine's `generate`."""
        return {"temperature": sampling_state.temperature, "top_p": self.shape.top_p, "top_k": self.shape.top_k}

    def generate(
        self, batch: RolloutRound, requests: Sequence[GenerationRequest], sampling_state: SamplingState
    ) -> list[Generation]:
        """One generation per row of `batch`, from its request. Collective."""
        decode = generate_exits if self.makes_exits else generate_rows
        return self.decode(decode, batch, requests, **self.sampling(sampling_state))

    def decode(
        self, decode: Decode, batch: RolloutRound, requests: Sequence[GenerationRequest], **how: Any
    ) -> list[Generation]:
        """One generation per row by `decode`; `how`: arguments of the engine's `generate`. Collective: a rank without rows, or
        whose rows need fewer calls, generates one token and discards it."""
        idle = [GenerationRequest((self.tokenizer.eos_token_id,), 0, 1)]

        def generate(asked: list[GenerationRequest]) -> list[Generation]:
            return self.engine.generate(asked or idle, **how)[: len(asked)]

        return decode(batch, requests, generate, lambda left: any(gather_object([left])))

    def parse(self, turn: str) -> Any:
        """Parse a whole assistant's turn by the prompting's contract, or by the default one."""
        return self.objective.prompting.parse(turn)

    def records(self, batch: RolloutRound, verdicts: Sequence[Any]) -> list[RolloutRecord]:
        """Rollout records of this rank's rows."""
        return batch.records(verdicts, self.parse, self.grader.ended)

    def gathered_records(self, batch: RolloutRound, verdicts: Sequence[Any]) -> list[RolloutRecord]:
        """Rollout records of the whole batch, in global order, on every rank."""
        return gather_object(self.records(batch, verdicts))

    def rollouts(
        self, records: Sequence[RolloutRecord], moment: Moment, fields: Mapping[str, Any] | None = None
    ) -> Rollouts:
        """Gathered records as tensors, with optional `fields` of the whole batch."""
        shape = self.shape
        found = rollouts_from_records(records, shape.group_size, shape.cap, moment.progress, self.memory)
        return replace(found, **(fields or {}))
