"""Converts one decoded sample to a line of records.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tersely.core.verifier import AnswerVerdict
from tersely.eval.decoding.base import Decoded, Prompt
from tersely.eval.first_answer import first_correct_position
from tersely.eval.records import SCORES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FINISH = {"eos": "stop"}


def sample_record(
    row: Mapping[str, Any],
    prompt: Prompt,
    seed: int,
    decoded: Decoded,
    text: str,
    verdict: AnswerVerdict,
    lengths: TokenLengths,
) -> dict[str, Any]:
    """Record of a sample, without run, benchmark, strategy and timing.

    `tokens` is the total cost: generated, injected and discarded. `first_correct` is in tokens of the sequence.
    """
    record: dict[str, Any] = {
        "problem_id": prompt.prompt_id,
        "sample": prompt.sample,
        "seed": seed,
        "level": row["level"],
        "problem": row["problem"],
        "gold": row["answer"],
        "text": text,
        "tokens": decoded.cost,
        "thinking_tokens": decoded.thinking_length,
        "truncated": decoded.truncated,
        "verdict": verdict.status,
        "correct": SCORES[verdict.status],
        "answer": verdict.answer,
        "finish": FINISH.get(decoded.finish, decoded.finish),
    }
    end = first_correct_position(record, record["correct"])
    record["first_correct"] = None if end is None else lengths.tokens_until(decoded.token_ids, text, end)
    record["second"] = second_opinion(record)
    if row.get("family") is not None:
        record["family"] = row["family"]
    if decoded.budget is not None:
        record["budget"] = decoded.budget
    if decoded.extra_tokens:
        record["extra_tokens"] = decoded.extra_tokens
    if any(decoded.injected):
        record["injected_tokens"] = sum(decoded.injected)
    if len(decoded.phases) > 1:
        record["phases"] = [list(phase) for phase in decoded.phases]
    return record


def second_opinion(record: Mapping[str, Any]) -> str | None:
    """Verdict of a second grader (strings and numbers) that shares no code with the verifier; None if it cannot decide."""
    from tersely.rewards.verify.audit import plain_grader

    if record["answer"] is None or record["correct"] is None:
        return None
    try:
        opinion = plain_grader(str(record["gold"]), str(record["answer"]))
    except (ValueError, OverflowError, RecursionError):
        return None
    return None if opinion is None else "correct" if opinion else "incorrect"


class TokenLengths:
    """Number of characters that each token adds to a text, cached by id."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        self.known: dict[int, int] = {}

    def tokens_until(self, ids: Sequence[int], text: str, end: int) -> int:
        """Number of tokens up to and including character `end - 1` of `text`, the decoded `ids`."""
        total = 0
        place = len(ids)
        for count, identity in enumerate(ids, start=1):
            total += self._length(identity)
            if total >= end and place == len(ids):
                place = count
        return place if total == len(text) else self._searched(ids, end)

    def _length(self, identity: int) -> int:
        if identity not in self.known:
            self.known[identity] = len(self.tokenizer.decode([identity], skip_special_tokens=True))
        return self.known[identity]

    def _searched(self, ids: Sequence[int], end: int) -> int:
        """The same by bisection over prefixes, for tokens with parts of characters."""
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            enough = len(self.tokenizer.decode(list(ids[:middle]), skip_special_tokens=True)) >= end
            low, high = (low, middle) if enough else (middle + 1, high)
        return low
