"""Data types of a cold start: a correct attempt, and the spans of text that an example trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from tersely.engines.chat import prompt_ids

Count = Callable[[str], int]


class Span(NamedTuple):
    text: str
    weight: float = 1.0
    """0 keeps the span out of the loss; another weight multiplies its tokens' loss."""
    exempt: bool = False
    """A loss that weighs tokens by their probability (`talr`) leaves these at weight 1."""


class Attempt(NamedTuple):
    """A right, whole rollout."""

    turn: str
    """What the template opened, and the completion."""
    text: str
    length: int
    """Sampled tokens, the end token counted."""


class Example(NamedTuple):
    kind: str
    spans: list[Span]


class Rewrite:
    """Rewrites the correct attempts of one prompt as examples."""

    memory_field: ClassVar[str | None] = None
    """The prompt's record that holds the length (tokens) of one greedy run, where it was right. None: no such run is made."""

    def __call__(self, attempts: Sequence[Attempt], count: Count) -> list[Example]:
        raise NotImplementedError


def turn_ids(tokenizer: Any, prompt: list[dict[str, str]], template: dict[str, Any]) -> list[int]:
    """The chat up to the opened assistant's turn; `template` holds chat_template_kwargs."""
    return prompt_ids(tokenizer, prompt, template)


def tokens_and_weights(
    tokenizer: Any, prompt: list[dict[str, str]], spans: list, template: dict[str, Any] | None = None
) -> tuple[list[int], list[float], list[bool]]:
    """Ids of prompt, spans and end, each tokenised alone so that they concatenate; one weight an id, 0 on the prompt; and
    which of them are exempt."""
    ids = turn_ids(tokenizer, prompt, template or {})
    weights, exempt = [0.0] * len(ids), [False] * len(ids)
    for span in (*(Span(*span) for span in spans), None):
        part = [tokenizer.eos_token_id] if span is None else tokenizer.encode(span.text, add_special_tokens=False)
        ids += part
        weights += [1.0 if span is None else float(span.weight)] * len(part)
        exempt += [span is not None and bool(span.exempt)] * len(part)
    return ids, weights, exempt
