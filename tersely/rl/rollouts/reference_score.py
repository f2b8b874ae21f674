"""Likelihood of the reference answer under the model: after a rollout's own reasoning, and without reasoning.

The rollout is cut where its answer begins and the reference y* is put there; one teacher-forced pass gives the
probabilities of y*'s tokens, which are found by character offsets (what stands before y* may share a token with it).

    splice "tags" (RLPR):     ... <answer> y* </answer>           malformed: what led up to </think>, then the same
    splice "boxed" (VeriFree): ... <answer> \\boxed{ y* } </answer>  tokenised from `>` on, which merges with what follows

The score without reasoning is that of the initial policy: it is taken for the whole dataset before the first step and
kept in the prompt memory, which checkpoints save. Runs only where a component `needs` one of the fields.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from tersely.algorithms.prompting.rlpr import RLPRFormat
from tersely.engines.chat import prompt_ids, with_instruction
from tersely.rewards.rlpr import mean_probability, repeats
from tersely.rl.trl.grpo import GRPOTrainer
from tersely.rl.update.padding import padded

FIELDS = ("reference_score", "reference_base", "reference_logp", "reference_tokens", "repeated")
_BASE = "reference_base"
_LEADING = re.compile(r"\s*")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """Tokens to be read by the model, and which of them are the reference's."""

    ids: list[int]
    reference: list[bool]


def tags_head(turn: str, text: str, contract: RLPRFormat) -> str:
    """What stands before y* in RLPR's splice. What a malformed rollout said after its thinking is no part of it."""
    if contract.kept(turn) and contract.opening in text:
        end = text.index(contract.opening) + len(contract.opening)
        space = _LEADING.match(text, end)
        return text[:end] + ((space.group() if space else "") or contract.space)
    return text.partition("</think>")[0] + f"</think>{contract.space}{contract.opening}{contract.space}"


def boxed_head(text: str) -> str | None:
    """What stands before `>` in VeriFree's splice; None where no answer begins."""
    at = text.find("<answer")
    return None if at < 0 else text[: at + len("<answer")]


def piece(tokenizer: Any, before: str, reference: str, after: str, head: Sequence[int] = ()) -> Piece:
    """`head` ids, then the tokens of the text; marked where they overlap the reference."""
    coded = tokenizer(before + reference + after, add_special_tokens=False, return_offsets_mapping=True)
    begin, end = len(before), len(before) + len(reference)
    marks = [start < end and stop > begin for start, stop in coded["offset_mapping"]]
    return Piece([*head, *coded["input_ids"]], [False] * len(head) + marks)


class ReferenceScorer:
    """The fields of `Rollouts` about the reference, for one trainer. Every rank makes the same passes."""

    def __init__(self, trainer: Any):
        self.trainer = trainer
        prompting = trainer.objective.prompting
        self.contract = prompting if isinstance(prompting, RLPRFormat) else RLPRFormat()

    def fields(self) -> dict[str, Tensor]:
        """Of the batch at hand, gathered over every rank; nothing where no component asks."""
        needs = self.trainer.objective.needs & set(FIELDS)
        if not needs:
            return {}
        found: dict[str, Tensor] = {}
        if needs & {"reference_score", _BASE}:
            found[_BASE] = self._bases()
            found["reference_score"] = mean_probability(*self._pass(self._pieces("tags")))
        if needs & {"reference_logp", "reference_tokens"}:
            pieces = self._pieces("boxed")
            logp, mask = self._pass(pieces)
            total = torch.where(mask.bool(), logp.double(), 0.0).sum(1)
            answered = torch.tensor([boxed_head(text) is not None for text in self.trainer._round.texts])
            found["reference_logp"] = torch.where(answered, total, -torch.inf).float()
            found["reference_tokens"] = mask.sum(1)
        if "repeated" in needs:
            found["repeated"] = torch.tensor([repeats(text) for text in self.trainer._round.texts])
        for name, values in found.items():
            if values.is_floating_point() and bool(values.isfinite().any()):
                self.trainer._record(
                    f"reference/{name.removeprefix('reference_')}", values[values.isfinite()].mean().item()
                )
        return {name: torch.tensor(gather_object(values.tolist())).to(values.dtype) for name, values in found.items()}

    def _pieces(self, splice: str) -> list[Piece]:
        batch, tokenizer = self.trainer._round, self.trainer._tokenizer
        pieces = []
        for row, prompt, text in zip(batch.rows, batch.prompt_ids, batch.texts, strict=True):
            if splice == "tags":
                head = tags_head(batch.template.tail + text, text, self.contract)
                made = piece(tokenizer, head, row["answer"], self.contract.space + self.contract.closing)
            else:
                head = boxed_head(text) or text + "<answer"
                ids = tokenizer(head, add_special_tokens=False)["input_ids"]
                made = piece(tokenizer, "> \\boxed{ ", row["answer"], " } </answer>", ids)
            pieces.append(self._fitted(prompt, made))
        return pieces

    def _fitted(self, prompt: Sequence[int], made: Piece) -> Piece:
        """After the prompt; where the model's window is too short, the reasoning loses its end."""
        first = made.reference.index(True) if any(made.reference) else len(made.ids)
        window = getattr(self.trainer.model.config, "max_position_embeddings", None) or 1 << 30
        drop = min(max(0, len(prompt) + len(made.ids) - window), max(0, first - 1))
        ids = made.ids[: first - drop] + made.ids[first:] if drop else made.ids
        marks = made.reference[: first - drop] + made.reference[first:] if drop else made.reference
        return Piece([*prompt, *ids], [False] * len(prompt) + marks)

    def _bases(self) -> Tensor:
        """(n,) of this rank's rows: from memory, which is filled before the first step."""
        trainer = self.trainer
        if trainer.state.global_step == 0 and getattr(trainer, "first_step", 0) == 0:
            self._remember(trainer.train_dataset)
        known = [trainer.memory.get(row["prompt_id"], _BASE) for row in trainer._round.rows]
        if any(gather_object([value is None for value in known])):  # held-out rows, or a dataset that has changed
            fresh = self._without_reasoning(trainer._round.rows)
            known = [new if value is None else value for value, new in zip(known, fresh, strict=True)]
        return torch.tensor(known, dtype=torch.float32)

    def _remember(self, rows: Any) -> None:
        trainer = self.trainer
        if all(trainer.memory.get(prompt_id, _BASE) is not None for prompt_id in rows["prompt_id"]):
            return
        log.info("the reference answers of %d problems are scored without reasoning, once", len(rows))
        ranks, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
        each = -(-len(rows) // ranks)
        mine = [rows[(rank * each + i) % len(rows)] for i in range(each)]  # as many on every rank
        scores = self._without_reasoning(mine)
        pairs = gather_object([(row["prompt_id"], score) for row, score in zip(mine, scores, strict=True)])
        for prompt_id, score in pairs:
            trainer.memory.set(prompt_id, _BASE, score)

    def _without_reasoning(self, rows: Sequence[dict]) -> list[float]:
        trainer, pieces = self.trainer, []
        for row in rows:
            plan = trainer.objective.prompting([row["prompt_id"]], 1, trainer.memory, trainer.args.seed)[0]
            prompt = prompt_ids(
                trainer._tokenizer, with_instruction(row["prompt"], plan.instruction), trainer.chat_template_kwargs
            )
            end = trainer._tokenizer.eos_token or ""
            pieces.append(self._fitted(prompt, piece(trainer._tokenizer, self.contract.space, row["answer"], end)))
        return mean_probability(*self._pass(pieces)).tolist()

    def _pass(self, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
        """(n, T) log-probs under the policy and the mask of the reference, of the last T tokens."""
        trainer, device = self.trainer, self.trainer.accelerator.device
        keep = max(len(p.ids) - p.reference.index(True) if any(p.reference) else 1 for p in pieces)
        ids = padded([p.ids for p in pieces], trainer._tokenizer.pad_token_id, "left")
        attention = padded([[1] * len(p.ids) for p in pieces], 0, "left")
        marks = padded([[int(mark) for mark in p.reference] for p in pieces], 0, "left")[:, -keep:]
        with torch.no_grad():  # past the trainer's own method, which would take this for the pass over the rollouts
            logp = GRPOTrainer._get_per_token_logps_and_entropies(
                trainer,
                trainer.model,
                ids.to(device),
                attention.to(device),
                keep,
                batch_size=trainer.args.per_device_train_batch_size,
            )[0]
        return logp.detach().float().cpu(), marks
