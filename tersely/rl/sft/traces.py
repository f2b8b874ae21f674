"""Reads the traces of a cold start: correct, complete answers from a file or dataset.

A row has a problem, a reference answer and a completion. Its own verdict counts where it has one (`correct`, as in a
records.jsonl, which also has the reference answer in `gold`); otherwise the recipe's verifier decides.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tersely.configs.cold_start import TracesSpec
from tersely.core.logging import get_logger
from tersely.core.verifier import AnswerVerifier
from tersely.data.load import load_problems_with_card
from tersely.data.rows import MISSING, column, lookup
from tersely.data.sources import read_rows
from tersely.rl.rollouts.rollout import Template
from tersely.rl.sft.examples import Attempt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = get_logger(__name__)

OPENING = "<think>"


@dataclass(frozen=True)
class Traces:
    """The rows of a dataset of traces, in order; equal `prompt_id`s are traces of one problem."""

    rows: list[dict[str, Any]]
    texts: list[Any]
    known: list[bool | None]
    """Per row: its own verdict, or None."""

    def of_rank(self, rank: int, ranks: int) -> Traces:
        """The traces of every `ranks`-th problem."""
        numbers = {identity: n for n, identity in enumerate(dict.fromkeys(row["prompt_id"] for row in self.rows))}
        chosen = [i for i, row in enumerate(self.rows) if numbers[row["prompt_id"]] % ranks == rank]
        return Traces([self.rows[i] for i in chosen], [self.texts[i] for i in chosen], [self.known[i] for i in chosen])


def read_traces(spec: TracesSpec, seed: int, instruction: str | None, system_prompt: str | None) -> Traces:
    """Load the traces. `DataError` for a missing column, with the nearest one."""
    source = spec.source
    first = next(iter(read_rows(source, seed)), {})
    column(first, spec.text, "text", f"traces {source.label}")
    if "answer" not in source.columns and lookup(first, "gold") is not MISSING:
        source = replace(source, columns={**source.columns, "answer": "gold"})  # `answer` is what the model wrote
    facts = [name for name in ("correct", "truncated") if lookup(first, name) is not MISSING]
    data, card = load_problems_with_card(
        source, seed=seed, instruction=instruction, system_prompt=system_prompt, columns=(spec.text, *facts)
    )
    logger.info(card.text())
    values = [json.loads(text) for text in data["columns"]]
    known = [_verdict(value) if facts else None for value in values]
    return Traces(data.to_list(), [value[spec.text] for value in values], known)


def _verdict(value: dict[str, Any]) -> bool | None:
    if value.get("truncated"):
        return False
    correct = value.get("correct")
    return None if correct is None and "correct" not in value else correct == 1


def attempts_of(
    traces: Traces, tokenizer: PreTrainedTokenizerBase, verifier: AnswerVerifier, template_kwargs: dict[str, Any]
) -> list[tuple[dict[str, Any], list[Attempt]]]:
    """(row, correct and complete attempts) per problem, in order. Logs how many traces were dropped, and why."""
    template = Template.of(tokenizer, template_kwargs)
    texts = [_completion(text, template, tokenizer) for text in traces.texts]
    counts: Counter[str] = Counter()
    kept = []
    for i, (text, known) in enumerate(zip(texts, traces.known, strict=True)):
        if not text:
            counts["empty, or with an end token inside"] += 1
        elif known is False:
            counts["incorrect or truncated"] += 1
        else:
            kept.append(i)
    asked = [i for i in kept if traces.known[i] is None]
    verdicts = verifier.verify_rows([traces.rows[i] for i in asked], [texts[i] for i in asked]) if asked else []
    wrong = {i for i, verdict in zip(asked, verdicts, strict=True) if verdict.correct != 1}
    counts["incorrect by the verifier"] = len(wrong)
    found: dict[str, tuple[dict[str, Any], list[Attempt]]] = {}
    for i in kept:
        if i not in wrong:
            row, text = traces.rows[i], texts[i]
            length = len(tokenizer.encode(text, add_special_tokens=False)) + 1
            found.setdefault(row["prompt_id"], (row, []))[1].append(Attempt(template.tail + text, text, length))
    dropped = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    logger.info(f"{len(texts)} traces: {len(kept) - len(wrong)} correct" + (f"; dropped: {dropped}" if dropped else ""))
    return list(found.values())


def _completion(text: Any, template: Template, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text as the model would sample it after the template; empty for one that cannot be trained on."""
    if not isinstance(text, str):
        return ""
    end = str(tokenizer.eos_token)
    text = text.rstrip().removesuffix(end)
    if template.opens_thinking and text.lstrip().startswith(OPENING):
        text = text.lstrip().removeprefix(OPENING).lstrip("\n")
    return "" if end in text or not text.strip() else text
