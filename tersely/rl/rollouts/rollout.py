"""One generation batch on one rank: converts rows and prompting to requests, and generations to rollout records."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tersely.core.parse_completion import END_OF_THINKING
from tersely.core.seeds import sample_seed
from tersely.core.types import RolloutPlan
from tersely.engines.base import Generation, GenerationRequest
from tersely.engines.chat import after_instruction, all_prompt_ids, opened_by, with_instruction
from tersely.engines.phases import closed_at
from tersely.rl.rollouts.record import RolloutRecord, rollout_record, thinking_length
from tersely.rl.update.padding import padded

SAMPLED = "sampling_per_token_logps"
"""Batch key of the engine's log-probs."""
PER_ROW = ("rows", "plans", "prompt_ids", "generations", "texts")
"""Fields of `RolloutRound` with one value per row."""


@dataclass(frozen=True)
class Template:
    """Texts and ids of the chat template around the assistant's turn."""

    tail: str
    """Text that opens the turn, for example `<|im_start|>assistant\\n<think>\\n`."""
    end_of_thinking: tuple[int, ...]
    """The ids of `</think>`."""

    @classmethod
    def of(cls, tokenizer: Any, chat_template_kwargs: dict | None = None) -> Template:
        messages = [{"role": "user", "content": "x"}]
        kwargs = chat_template_kwargs or {}
        closed = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False, **kwargs)
        opened = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **kwargs)
        tail = opened[len(closed) :] if opened.startswith(closed) else opened
        return cls(tail, tuple(tokenizer.encode("</think>", add_special_tokens=False)))

    @property
    def opens_thinking(self) -> bool:
        return self.tail.rstrip().endswith("<think>")


@dataclass
class RolloutRound:
    """The rows of this rank, in order, with their prompts and generations."""

    rows: list[dict[str, Any]]
    plans: list[RolloutPlan]
    tokenizer: Any
    template: Template
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    prompt_ids: list[list[int]] = field(default_factory=list)
    """Per row: the prompt, plus the prefill if it is not trained on. Set by `tokenize`."""
    generations: list[Generation] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def messages(self) -> list[list[dict[str, str]]]:
        """The chat of every row, with its plan's instruction at the end of the last user message."""
        return [
            with_instruction(row["prompt"], plan.instruction) for row, plan in zip(self.rows, self.plans, strict=True)
        ]

    def tokenize(self) -> None:
        """Prompt tokens plus the prefill, unless it is trained on (then it belongs to the completion)."""
        self.prompt_ids = self._tokenized(self.messages())

    def prompts_after(self, instruction: str) -> list[list[int]]:
        """As `prompt_ids`, with `instruction` before the last user message."""
        return self._tokenized([after_instruction(chat, instruction) for chat in self.messages()])

    def _tokenized(self, chats: list[list[dict[str, str]]]) -> list[list[int]]:
        prompts = all_prompt_ids(self.tokenizer, chats, self.chat_template_kwargs) if self.rows else []
        return [
            list(ids) + ([] if plan.train_prefill else self._prefill(plan))
            for ids, plan in zip(prompts, self.plans, strict=True)
        ]

    def part(self, rows: Sequence[dict[str, Any]], plans: Sequence[RolloutPlan]) -> RolloutRound:
        """A batch of other rows for the same model."""
        return RolloutRound(list(rows), list(plans), self.tokenizer, self.template, self.chat_template_kwargs)

    def row(self, place: int) -> dict[str, Any]:
        """All values of one row."""
        return {name: getattr(self, name)[place] for name in PER_ROW}

    def put(self, place: int, values: Mapping[str, Any]) -> None:
        """Replace a row by the `row` of another batch."""
        for name in PER_ROW:
            getattr(self, name)[place] = values[name]

    def requests(self, *, seed: int, step: int, first_row: int, group_size: int, cap: int) -> list[GenerationRequest]:
        """One request per row. `first_row`: index in the global batch, so that sample indices are global."""
        return [
            GenerationRequest(
                prompt_ids=tuple(ids) + tuple(self._trained_prefill(plan)),
                seed=sample_seed(seed, step, row["prompt_id"], sample_of(plan, (first_row + i) % group_size)),
                max_new_tokens=min(plan.max_new_tokens or cap, cap),
            )
            for i, (ids, row, plan) in enumerate(zip(self.prompt_ids, self.rows, self.plans, strict=True))
        ]

    def finish(self, generations: list[Generation]) -> None:
        """Store the generations; the text of a row is its prefill plus the sampled tokens."""
        self.generations = generations
        # for an empty list transformers returns one empty text
        ids = [generation.token_ids for generation in generations]
        sampled = self.tokenizer.batch_decode(ids, skip_special_tokens=True) if ids else []
        self.texts = [self._prefill_text(plan) + text for plan, text in zip(self.plans, sampled, strict=True)]

    @property
    def completion_ids(self) -> list[list[int]]:
        """Per row: a trained prefill, if any, and the sampled tokens."""
        return [
            self._trained_prefill(plan) + list(g.token_ids)
            for plan, g in zip(self.plans, self.generations, strict=True)
        ]

    @property
    def written(self) -> list[list[bool]]:
        """Per row, parallel to `completion_ids`: True for text that was written while decoding, not for a prefill."""
        return [
            [*[False] * len(self._trained_prefill(plan)), *(g.forced or [False] * len(g.token_ids))]
            for plan, g in zip(self.plans, self.generations, strict=True)
        ]

    def sizes(self, ends: Collection[int]) -> list[tuple[int, int, int, bool]]:
        """Per row: tokens of prompt, of completion, of written text, and whether the last token is one of `ends`."""
        return [
            (len(prompt), len(completion), sum(generation.forced), completion[-1] in ends)
            for prompt, completion, generation in zip(
                self.prompt_ids, self.completion_ids, self.generations, strict=True
            )
        ]

    def forced_masks(self, multiple_of: int | None) -> dict[str, Tensor]:
        """(n, T) bool: `forced`, tokens that were not sampled, also of a trained prefill; `trainable`, those to train on."""
        forced, trainable = [], []
        for plan, generation, written in zip(self.plans, self.generations, self.written, strict=True):
            prefill = len(self._trained_prefill(plan))
            untrained = generation.prefix if plan.exit is not None and not plan.exit.trains_prefix else 0
            forced.append([at < prefill or one for at, one in enumerate(written)])
            trainable.append([at >= untrained and (plan.train_forced or not one) for at, one in enumerate(written)])
        rows = {"forced": forced, "trainable": trainable}
        return {name: padded(values, 0, "right", multiple_of).bool() for name, values in rows.items()}

    def sampler_logprobs(self) -> list[list[float]]:
        """The engine's log-probs, nan on tokens that were not sampled."""
        return [
            [math.nan] * len(self._trained_prefill(plan)) + list(g.logprobs or ())
            for plan, g in zip(self.plans, self.generations, strict=True)
        ]

    def chats(self) -> list[tuple[list[dict[str, str]], list[dict[str, str]]]]:
        """(prompt, completion) of every row as messages, for the table of completions."""
        texts = self.tokenizer.batch_decode(self.completion_ids, skip_special_tokens=True)
        answers = [[{"role": "assistant", "content": text}] for text in texts]
        return list(zip(self.messages(), answers, strict=True))

    def tensors(self, pad: int, multiple_of: int | None, *, logprobs: bool) -> dict[str, Tensor]:
        """Ids and masks, (n, T): prompts padded on the left, completions on the right; the engine's `logprobs` as well."""
        found = {"prefill": torch.tensor([len(self._trained_prefill(plan)) for plan in self.plans])}
        parts = (("prompt", "left", self.prompt_ids), ("completion", "right", self.completion_ids))
        for part, side, rows in parts:
            found[f"{part}_ids"] = padded(rows, pad, side, multiple_of)
            found[f"{part}_mask"] = padded([[1] * len(row) for row in rows], 0, side, multiple_of)
        if logprobs:
            found[SAMPLED] = padded(self.sampler_logprobs(), 0.0, "right", multiple_of)
        return found

    def records(self, verdicts: Sequence[Any], parse: Callable[[str], Any], ended: bool = False) -> list[RolloutRecord]:
        """Rollout records; `parse` gets the whole assistant's turn: template opening, prefill, completion.

        ended: an answer counts only if its completion ended by itself.
        """
        return [
            rollout_record(
                row,
                plan,
                parse(self.template.tail + text),
                verdict,
                text=text,
                tokens=generation.sampled_ids,
                thinking=self._thinking(plan, generation),
                truncated=generation.finish == "length",
                ended=ended,
                forced_tokens=sum(generation.forced),
                forced_end=self.forced_end(plan, generation),
                prefix=generation.prefix,
            )
            for row, plan, generation, text, verdict in zip(
                self.rows, self.plans, self.generations, self.texts, verdicts, strict=True
            )
        ]

    def _thinking(self, plan: RolloutPlan, generation: Generation) -> int:
        """Sampled thinking tokens; 0 if the prefill closed the thinking."""
        if "</think>" in (plan.prefill or ""):
            return 0
        end = thinking_length(generation.token_ids, self.template.end_of_thinking)
        return end - sum(generation.forced[:end])

    def forced_end(self, plan: RolloutPlan, generation: Generation) -> bool | None:
        """True if the end of thinking was written for the row; None if it has no thinking budget."""
        if plan.thinking_budget is None or self.closed_before(plan):
            return None
        end = closed_at(generation.token_ids, self.template.end_of_thinking)
        return end is not None and bool(generation.forced) and generation.forced[end - 1]

    def closed_before(self, plan: RolloutPlan) -> bool:
        """True if the template or the plan's prefill has closed the thinking."""
        return END_OF_THINKING in self.template.tail + (plan.prefill or "")

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a text on its own."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False)) if text else ()

    def thinking_is_closed(self, plan: RolloutPlan) -> bool:
        """True if a prefill before the completion closed the thinking."""
        return "</think>" in (plan.prefill or "") and not plan.train_prefill

    def _prefill_text(self, plan: RolloutPlan) -> str:
        return opened_by(plan.prefill, self.template.tail)

    def _prefill(self, plan: RolloutPlan) -> list[int]:
        """The prefill's ids, tokenised separately so that they do not depend on the prompt."""
        return list(self.encode(self._prefill_text(plan)))

    def _trained_prefill(self, plan: RolloutPlan) -> list[int]:
        return self._prefill(plan) if plan.train_prefill else []


def sample_of(plan: RolloutPlan, index: int) -> int:
    """Index of the sample whose seed a row uses: the trace's if the row answers on one, else the row's in the group."""
    return index if plan.exit is None else plan.exit.trace
