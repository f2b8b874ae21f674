"""Data types of a cold start: a correct attempt, and the spans of text that an example trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tersely.engines.chat import prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Count = Callable[[str], int]


class Span(NamedTuple):
    text: str
    weight: float = 1.0
    """Loss weight of the span's tokens; 0 excludes it."""
    exempt: bool = False
    """True: a loss that weighs tokens by their probability (`talr`) uses weight 1 for them."""


class Attempt(NamedTuple):
    """A correct and complete rollout."""

    turn: str
    """The template's opening, and the completion."""
    text: str
    length: int
    """Number of sampled tokens, including the end token."""


class Example(NamedTuple):
    kind: str
    spans: list[Span]


class Rewrite:
    """Rewrites the correct attempts of one prompt as examples."""

    memory_field: ClassVar[str | None] = None
    """Field of the prompt memory for the length (tokens) of one correct greedy run. None: no greedy run."""

    def __call__(self, attempts: Sequence[Attempt], count: Count) -> list[Example]:
        raise NotImplementedError


def turn_ids(tokenizer: PreTrainedTokenizerBase, prompt: list[dict[str, str]], template: dict[str, Any]) -> list[int]:
    """The chat up to the start of the assistant's turn; `template`: chat_template_kwargs."""
    return prompt_ids(tokenizer, prompt, template)


def tokens_and_weights(
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[dict[str, str]],
    spans: list,
    template: dict[str, Any] | None = None,
) -> tuple[list[int], list[float], list[bool]]:
    """(ids of prompt, spans and end, each tokenised separately; one weight per id, 0 on the prompt; mask of exempt ids)."""
    ids = turn_ids(tokenizer, prompt, template or {})
    weights, exempt = [0.0] * len(ids), [False] * len(ids)
    for span in (*(Span(*span) for span in spans), None):
        part = [tokenizer.eos_token_id] if span is None else tokenizer.encode(span.text, add_special_tokens=False)
        ids += part
        weights += [1.0 if span is None else float(span.weight)] * len(part)
        exempt += [span is not None and bool(span.exempt)] * len(part)
    return ids, weights, exempt
