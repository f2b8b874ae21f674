"""Wraps a reward of this package as a TRL reward function for plain `GRPOTrainer` or `trl grpo`.

    GRPOTrainer(model, reward_funcs=for_trl({"name": "alp", "beta": 0.2, "normalizer": "max_length"}, tokenizer=tok,
                max_completion_length=1024), args=..., train_dataset=rows with `prompt` and `answer`)

TRL calls a reward function with one rank's rows, but a group can span several ranks. So this function gathers the records of
all rows, computes the reward on whole groups on every rank, and returns this rank's slice.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from tersely.configs.scorer import ScorerSpec
from tersely.core.build import Spec, build
from tersely.core.errors import ConfigError, nearest
from tersely.core.memory import PromptMemory
from tersely.core.parse_completion import parse_completion
from tersely.core.protocols import complete
from tersely.core.seeds import stable_id
from tersely.core.types import COLUMN, Rollouts, columns_in
from tersely.core.verifier import AnswerVerifier
from tersely.rewards.verify.scorers.grade import load_scorer, payload_of
from tersely.rl.for_trl_scaling import calling_trainer, require_scale
from tersely.rl.rollouts.record import RolloutRecord, counted, rollouts_from_records, thinking_length

TAIL = 200
"""Number of characters at the end of a text prompt that are searched for the start of the assistant's turn."""


def for_trl(spec: Spec, tokenizer: Any = None, **options: Any) -> TRLReward:
    """Build a TRL reward function from `spec`. `options`: arguments of `TRLReward`."""
    return TRLReward(spec, tokenizer, **options)


BUDGETED = ("l1_exact", "l1_max", "budgetthinker", "hbpo")
"""Terms that compare the length with a budget in the prompt."""


HERE = ("length", "truncated", "thinking_length", "well_formed", "budget", "mode", "completion_text", "memory")
"""Fields of `Rollouts` that a term may need here."""


class TRLReward:
    """A TRL reward function. Use one object per run, because it has the state of the terms.

    tokenizer: for EOS and the chat template. Without it and without `stop_ids` no row counts as truncated.
    max_completion_length: the cap in tokens, as in GRPOConfig; required by terms that use it.
    ended: an answer counts only if its completion ended by itself, as in tersely's trainer; the last token shows it.
    answer_column: the dataset's column with the reference answer.
    prompting: component whose `parse` reads mode and budget from a completion (`arm`, `selfbudgeter`, `autothink`).
    stop_ids: all token ids that end a completion; by default the tokenizer's EOS and pad, as in TRL's metrics. Add those of
        the model's generation config.
    group_size: rollouts per prompt; by default inferred from consecutive equal prompts.
    verifier: an object with `verify(golds, texts)`; by default the project's verifier.
    scorer: grades the answers in place of the comparison with `answer_column`, as `scorer:` of a dataset does; it gets the
        dataset's columns. A column `scorer` of `load_problems` is used without it.

    The dataset's columns `budget`, `mode` and `prompt_id` are used if they exist. An undecided row has no reward
    (None), and TRL gives it no advantage; with other reward functions TRL counts it as 0 in their sum. A stateful term is
    updated at every call, also of an evaluation.
    """

    def __init__(
        self,
        spec: Spec,
        tokenizer: Any = None,
        *,
        max_completion_length: int | None = None,
        ended: bool = True,
        answer_column: str = "answer",
        prompting: Spec | None = None,
        stop_ids: Sequence[int] | None = None,
        group_size: int | None = None,
        verifier: Any = None,
        scorer: str | Mapping[str, Any] | None = None,
    ):
        terms = list(spec) if isinstance(spec, list | tuple) else [spec]
        self.reward = build("reward", terms)
        missing = {need for need in self.reward.needs if need not in HERE and not need.startswith(COLUMN)}
        self.columns = columns_in(self.reward.needs)
        if missing:
            raise ConfigError(
                f"{', '.join(self.reward.names)} needs {', '.join(sorted(missing))}. Use tersely's trainer"
            )
        self.__name__ = "+".join(self.reward.names)
        self.tokenizer, self.cap, self.answer_column = tokenizer, max_completion_length, answer_column
        self.parse = build("prompting", prompting).parse if prompting else parse_completion
        known = [getattr(tokenizer, name, None) for name in ("eos_token_id", "pad_token_id")]
        self.stop_ids = set(known if stop_ids is None else stop_ids) - {None}
        self.ended = ended
        if ended and not self.stop_ids:
            raise ConfigError(
                "for_trl: ended: got True without stop tokens. Pass tokenizer= or stop_ids=, or ended=False to count answers "
                "of truncated completions"
            )
        self.group_size = group_size
        self.memory = PromptMemory()
        self._verifier: AnswerVerifier | None = None if verifier is None else complete(AnswerVerifier, verifier)
        self.scorer = ScorerSpec.of(scorer, "for_trl")
        if self.scorer is not None:
            load_scorer(self.scorer.name)
        self._warned = self._checked_scale = False

    def __call__(
        self, prompts: list, completions: list, completion_ids: list, trainer_state: Any = None, **columns: Any
    ) -> list[float | None]:
        records = self._facts(prompts, completions, completion_ids, columns)
        self._check_stops(completion_ids, records)
        everyone, first = gathered(records)
        if not self._checked_scale and (trainer := calling_trainer()) is not None:
            require_scale(self.reward, str(trainer.scale_rewards))
            self._checked_scale = True
        budgeted = [name for name in self.reward.names if name in BUDGETED]
        if budgeted and all(math.isnan(record.budget) for record in everyone):
            raise ConfigError(
                f"reward {budgeted[0]} compares lengths with a budget, but no row has one. Add a column `budget` to the "
                "dataset, or use with_prompting(dataset, prompting)"
            )
        size = self.group_size or group_size_of([record.prompt_id for record in everyone])
        steps = max(getattr(trainer_state, "max_steps", 0) or 0, 1)
        progress = min(getattr(trainer_state, "global_step", 0) / steps, 1.0)
        rollouts = rollouts_from_records(everyone, size, self.cap or 0, progress, self.memory)
        if self.cap is None:
            rollouts = WithoutCap(**vars(rollouts))
        values = self.reward(rollouts)[first : first + len(records)].tolist()
        self.reward.update(rollouts)
        self._log(columns.get("log_metric"), rollouts, everyone)
        return [None if math.isnan(value) else value for value in values]

    def _facts(self, prompts: list, completions: list, completion_ids: list, columns: dict) -> list[RolloutRecord]:
        if self.answer_column not in columns:
            names = ", ".join(key for key, value in columns.items() if isinstance(value, list))
            raise ConfigError(f"answer_column: got {self.answer_column!r}; expected one of {names}")
        for name in self.columns:
            if name not in columns:
                there = [key for key, value in columns.items() if isinstance(value, list)]
                raise ConfigError(f"the reward needs the dataset column {name!r}; {nearest(name, there)}")
        golds = [str(gold) for gold in columns[self.answer_column]]
        texts = [text_of(completion) for completion in completions]
        ids = columns.get("prompt_id") or [stable_id(json.dumps(p), g) for p, g in zip(prompts, golds, strict=True)]
        budgets, modes = columns.get("budget") or [None] * len(ids), columns.get("mode") or [None] * len(ids)
        rows = [
            {"answer": gold, "problem": problem_of(prompt), "scorer": payload}
            for gold, prompt, payload in zip(golds, prompts, self._payloads(columns, len(golds)), strict=True)
        ]
        verdicts = self.verifier.verify_rows(rows, texts)
        records = []
        for i, (text, tokens, verdict) in enumerate(zip(texts, completion_ids, verdicts, strict=True)):
            parsed = self.parse(self._tail(prompts[i]) + text)
            budget = budgets[i] if budgets[i] is not None else parsed.budget
            truncated = bool(self.stop_ids) and (not len(tokens) or int(tokens[-1]) not in self.stop_ids)
            correct, status = counted(verdict, truncated, self.ended)
            records.append(
                RolloutRecord(
                    prompt_id=str(ids[i]),
                    correct=correct,
                    status=status,
                    answer=verdict.answer,
                    length=len(tokens),
                    thinking_length=thinking_length([int(token) for token in tokens], self._end_of_thinking),
                    truncated=truncated,
                    well_formed=parsed.well_formed,
                    budget=math.nan if budget is None else float(budget),
                    mode=modes[i] if modes[i] is not None else parsed.mode,
                    text=text,
                    columns=json.dumps({name: columns[name][i] for name in self.columns}, default=str)
                    if self.columns
                    else "",
                )
            )
        return records

    def _payloads(self, columns: dict, count: int) -> list[str | None]:
        """Scorer input of each row; None for a row that the verifier compares."""
        if self.scorer is None:
            return columns.get("scorer") or [None] * count
        given = {name: values for name, values in columns.items() if isinstance(values, list) and len(values) == count}
        names = list(given) if self.scorer.columns is None else self.scorer.columns
        for name in names:
            if name not in given:
                raise ConfigError(
                    f"for_trl: scorer {self.scorer.name} needs the column {name!r}; {nearest(name, given)}"
                )
        return [
            payload_of(self.scorer, {name: given[name][i] for name in {*names, self.answer_column}})
            for i in range(count)
        ]

    @cached_property
    def verifier(self) -> AnswerVerifier:
        if self._verifier is None:
            from tersely.rewards import Verifier

            self._verifier = Verifier()
        return self._verifier

    def close(self) -> None:
        """End the verifier's processes."""
        if self._verifier is not None:
            self._verifier.close()

    @cached_property
    def _template_tail(self) -> str:
        from tersely.rl.rollouts.rollout import Template

        return Template.of(self.tokenizer).tail if getattr(self.tokenizer, "chat_template", None) else ""

    @cached_property
    def _end_of_thinking(self) -> tuple[int, ...]:
        """Ids of `</think>`; empty without a tokenizer, and then the whole completion counts as thinking."""
        encode = getattr(self.tokenizer, "encode", None)
        return () if encode is None else tuple(encode("</think>", add_special_tokens=False))

    def _tail(self, prompt: Any) -> str:
        """The start of the assistant's turn in the prompt."""
        return prompt[-TAIL:] if isinstance(prompt, str) else self._template_tail

    def _check_stops(self, completion_ids: list, records: list[RolloutRecord]) -> None:
        """Warn once about completions that end before the cap with a token that is not a stop id."""
        early = [ids for ids, record in zip(completion_ids, records, strict=True) if record.truncated and len(ids)]
        unknown = sorted({int(ids[-1]) for ids in early if len(ids) < (self.cap or 0)})
        if unknown and not self._warned:
            self._warned = True
            warnings.warn(
                f"for_trl: completions end before max_completion_length = {self.cap} with token ids {unknown[:8]}, which are "
                "not in stop_ids, so they count as truncated. Pass all ids that end a completion as stop_ids=",
                stacklevel=3,
            )

    def _log(self, log_metric: Any, rollouts: Rollouts, records: Sequence[RolloutRecord]) -> None:
        if log_metric is not None:
            log_metric("verify/not_ended", sum(record.status == "not_ended" for record in records) / len(records))
            decided = rollouts.decided
            log_metric("verify/undecided", 1.0 - decided.double().mean().item())
            if decided.any():
                log_metric("verify/accuracy", rollouts.correct[decided].double().mean().item())

    def state_dict(self) -> dict[str, Any]:
        """State of the terms, for a checkpoint; equal on every rank."""
        return {"memory": self.memory.state_dict(), "reward": self.reward.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
        self.reward.load_state_dict(state["reward"])


class WithoutCap(Rollouts):
    """Rollouts without a cap: reading it is an error with a fix."""

    def __getattribute__(self, name: str) -> Any:
        if name == "max_length":
            raise ConfigError("this reward needs the cap. Pass for_trl(..., max_completion_length=) as in GRPOConfig")
        return super().__getattribute__(name)


def with_prompting(dataset: Any, prompting: Spec, *, answer_column: str = "answer", seed: int = 0) -> Any:
    """Add the prompting's instruction to the prompts, and the columns `budget` and `prompt_id`.

    For prompting with the same instruction for a whole group, and without prefill or cap (`l1`, `budgetthinker`), because
    plain TRL repeats one prompt for the group.
    """
    from tersely.engines.chat import with_instruction

    component = build("prompting", prompting)

    def planned(row: dict[str, Any]) -> dict[str, Any]:
        prompt_id = str(row.get("prompt_id") or stable_id(json.dumps(row["prompt"]), str(row[answer_column])))
        rows = component([prompt_id], 2, None, seed)
        if rows[0] != rows[1] or rows[0].prefill or rows[0].max_new_tokens:
            raise ConfigError(
                f"prompting {prompting!r} has a prefill or a cap, or differs within a group. Use tersely's trainer"
            )
        text, asked = row["prompt"], rows[0].instruction
        prompt = f"{text}\n{asked}" if isinstance(text, str) and asked else with_instruction(text, asked)
        return {"prompt": prompt, "budget": rows[0].budget, "prompt_id": prompt_id}

    return dataset.map(planned)


def gathered(records: list[RolloutRecord]) -> tuple[list[RolloutRecord], int]:
    """(rows of all ranks in global order, start of this rank's rows). The process group's timeout applies."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return records, 0
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, [replace(record, text="", problem="", gold="") for record in records])
    rank = distributed.get_rank()
    return [record for part in parts for record in part], sum(len(part) for part in parts[:rank])


def group_size_of(prompt_ids: Sequence[str]) -> int:
    """K, the greatest common divisor of the lengths of runs of equal ids, because a prompt may follow itself."""
    runs, last = [], None
    for prompt_id in prompt_ids:
        if prompt_id == last:
            runs[-1] += 1
        else:
            runs.append(1)
        last = prompt_id
    return math.gcd(*runs)


def problem_of(prompt: Any) -> str:
    """Text of a prompt, or of a chat's last message."""
    return prompt if isinstance(prompt, str) else text_of(prompt[-1:])


def text_of(completion: Any) -> str:
    """Text of a completion: TRL passes text for text prompts, and a list of messages for chats."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)
