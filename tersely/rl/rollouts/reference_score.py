"""Likelihood of the reference answer under the model, after a rollout's reasoning and without reasoning.

The rollout's answer is replaced by the reference y*; one teacher-forced pass gives the probabilities of y*'s tokens, which
are found by character offsets (the text before y* may share a token with it).

    splice "tags" (RLPR):     ... <answer> y* </answer>           malformed: the text up to </think>, then the same
    splice "boxed" (VeriFree): ... <answer> \\boxed{ y* } </answer>  or ... \\boxed{y*} where the prompting's opening is a box

The score without reasoning is that of the initial policy: it is computed for the whole dataset before the first step and
stored in the prompt memory, which checkpoints save. Runs only if a component `needs` one of the fields.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from tersely.algorithms.prompting.rlpr import RLPRFormat
from tersely.engines.chat import prompt_ids, with_instruction
from tersely.rewards.rlpr import mean_probability, repeats
from tersely.rl.rollouts.maker import Moment, RolloutMaker
from tersely.rl.rollouts.rollout import RolloutRound
from tersely.rl.update.padding import padded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIELDS = ("reference_score", "reference_base", "reference_logp", "reference_tokens", "repeated")
_BASE = "reference_base"
_LEADING = re.compile(r"\s*")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """Input tokens, and a mask of the reference's tokens."""

    ids: list[int]
    reference: list[bool]


def tags_head(turn: str, text: str, contract: RLPRFormat) -> str:
    """Text before y* in RLPR's splice, without a malformed rollout's text after its thinking."""
    if contract.kept(turn) and contract.opening in text:
        end = text.index(contract.opening) + len(contract.opening)
        space = _LEADING.match(text, end)
        return text[:end] + ((space.group() if space else "") or contract.space)
    return text.partition("</think>")[0] + f"</think>{contract.space}{contract.opening}{contract.space}"


def boxed_splice(text: str, contract: RLPRFormat) -> tuple[str, str] | None:
    """Texts before and after y* in VeriFree's splice; None without an answer after the thinking.

    The opening is found without its last character, which may merge with what follows in the model's tokens.
    """
    at = text.find(contract.opening[:-1] or contract.opening, max(0, text.rfind("</think>")))
    if at < 0:
        return None
    space, boxed = contract.space, contract.opening.endswith("\\boxed{")
    before = space if boxed else f"{space}\\boxed{{{space}"
    after = space if boxed else f"{space}}}{space}"
    return text[:at] + contract.opening + before, after + contract.closing


def piece(tokenizer: PreTrainedTokenizerBase, before: str, reference: str, after: str) -> Piece:
    """The tokens of the text, with a mask where they overlap the reference."""
    coded = tokenizer(before + reference + after, add_special_tokens=False, return_offsets_mapping=True)
    begin, end = len(before), len(before) + len(reference)
    return Piece(coded["input_ids"], [start < end and stop > begin for start, stop in coded["offset_mapping"]])


class ReferenceScorer:
    """Computes the reference fields of `Rollouts`. Every rank does the same number of passes.

    `log_probs(ids, mask, columns)`: (n, `columns`) of the trained model, without a gradient. `window`: its number of
    positions.
    """

    def __init__(
        self,
        maker: RolloutMaker,
        log_probs: Callable[[Tensor, Tensor, int], Tensor],
        window: int | None,
        record: Callable[[str, float], None],
    ):
        self.maker, self.log_probs, self.window, self.record = maker, log_probs, window or 1 << 30, record
        prompting = maker.objective.prompting
        self.contract = prompting if isinstance(prompting, RLPRFormat) else RLPRFormat()

    def fields(self, batch: RolloutRound, moment: Moment) -> dict[str, Tensor]:
        """Fields of the batch, gathered over all ranks; empty if no component needs them."""
        needs = self.maker.objective.needs & set(FIELDS)
        if not needs:
            return {}
        found: dict[str, Tensor] = {}
        if needs & {"reference_score", _BASE}:
            found[_BASE] = self._bases(batch.rows, moment)
            found["reference_score"] = mean_probability(*self._pass(self._pieces(batch, "tags")))
        if needs & {"reference_logp", "reference_tokens"}:
            pieces = self._pieces(batch, "boxed")
            logp, mask = self._pass(pieces)
            total = torch.where(mask.bool(), logp.double(), 0.0).sum(1)
            answered = torch.tensor([boxed_splice(text, self.contract) is not None for text in batch.texts])
            found["reference_logp"] = torch.where(answered, total, -torch.inf).float()
            found["reference_tokens"] = mask.sum(1)
        if "repeated" in needs:
            found["repeated"] = torch.tensor([repeats(text) for text in batch.texts])
        for name, values in found.items():
            if values.is_floating_point() and bool(values.isfinite().any()):
                self.record(f"reference/{name.removeprefix('reference_')}", values[values.isfinite()].mean().item())
        return {name: torch.tensor(gather_object(values.tolist())).to(values.dtype) for name, values in found.items()}

    def _pieces(self, batch: RolloutRound, splice: str) -> list[Piece]:
        tokenizer = self.maker.tokenizer
        pieces = []
        for row, prompt, text in zip(batch.rows, batch.prompt_ids, batch.texts, strict=True):
            if splice == "tags":
                head = tags_head(batch.template.tail + text, text, self.contract)
                after = self.contract.space + self.contract.closing
            else:
                head, after = boxed_splice(text, self.contract) or (text, "")  # without an answer the score is not used
            pieces.append(self._fitted(prompt, piece(tokenizer, head, row["answer"], after)))
        return pieces

    def _fitted(self, prompt: Sequence[int], made: Piece) -> Piece:
        """Input after the prompt; if the model's window is too short, the end of the reasoning is cut."""
        first = made.reference.index(True) if any(made.reference) else len(made.ids)
        drop = min(max(0, len(prompt) + len(made.ids) - self.window), max(0, first - 1))
        ids = made.ids[: first - drop] + made.ids[first:] if drop else made.ids
        marks = made.reference[: first - drop] + made.reference[first:] if drop else made.reference
        return Piece([*prompt, *ids], [False] * len(prompt) + marks)

    def _bases(self, rows: Sequence[dict], moment: Moment) -> Tensor:
        """(n,) base scores of this rank's rows from the prompt memory, which is filled before the first step."""
        memory = self.maker.memory
        if moment.step == 0:
            self._remember(self.maker.dataset)
        known = [memory.get(row["prompt_id"], _BASE) for row in rows]
        if any(gather_object([value is None for value in known])):  # held-out rows, or a changed dataset
            fresh = self.without_reasoning(rows)
            known = [new if value is None else value for value, new in zip(known, fresh, strict=True)]
        return torch.tensor(known, dtype=torch.float32)

    def _remember(self, rows: Any) -> None:
        memory, shape = self.maker.memory, self.maker.shape
        if all(memory.get(prompt_id, _BASE) is not None for prompt_id in rows["prompt_id"]):
            return
        log.info("scoring the reference answers of %d problems without reasoning, once", len(rows))
        each = -(-len(rows) // shape.ranks)
        mine = [rows[(shape.rank * each + i) % len(rows)] for i in range(each)]  # the same number on every rank
        scores = self.without_reasoning(mine)
        pairs = gather_object([(row["prompt_id"], score) for row, score in zip(mine, scores, strict=True)])
        for prompt_id, score in pairs:
            memory.set(prompt_id, _BASE, score)

    def without_reasoning(self, rows: Sequence[dict]) -> list[float]:
        """Mean probability of each row's reference answer directly after its prompt."""
        maker, shape, pieces = self.maker, self.maker.shape, []
        for row in rows:
            plan = maker.objective.prompting.plans([row["prompt_id"]], shape.group_size, maker.memory, shape.seed)[0]
            chat = with_instruction(row["prompt"], plan.instruction)
            prompt = prompt_ids(maker.tokenizer, chat, maker.chat_template_kwargs)
            end = maker.tokenizer.eos_token or ""
            pieces.append(self._fitted(prompt, piece(maker.tokenizer, self.contract.space, row["answer"], end)))
        return mean_probability(*self._pass(pieces)).tolist()

    def _pass(self, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
        """(n, T) log-probs under the policy and the mask of the reference, of the last T tokens."""
        keep = max(len(p.ids) - p.reference.index(True) if any(p.reference) else 1 for p in pieces)
        ids = padded([p.ids for p in pieces], self.maker.tokenizer.pad_token_id, "left")
        attention = padded([[1] * len(p.ids) for p in pieces], 0, "left")
        marks = padded([[int(mark) for mark in p.reference] for p in pieces], 0, "left")[:, -keep:]
        return self.log_probs(ids, attention, keep).float().cpu(), marks
