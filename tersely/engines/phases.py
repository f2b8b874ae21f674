"""Generation in phases: several requests along one row, with text that the program writes between them.

An engine answers one request with one continuation. Everything that intervenes while decoding is a sequence of such
requests, each of which continues the prompt and the ids so far:

    take      append what the engine sampled; EOS finishes the row, its cap does not
    write     append ids that were not sampled ("forced"); a text is tokenised alone, so that no id changes at its borders
    branch    a new row that begins with the first ids of this one
    shorten   drop what follows the first ids

A `Script` is one row's sequence of requests as a generator; `run_scripts` advances those of many rows together. Training
(`tersely.rl.rollouts.phased`) and the decoding strategies of the evaluation share this module.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Sequence
from typing import Any, Self

from tersely.core.parse_completion import END_OF_THINKING
from tersely.engines.base import Generation, GenerationRequest

Script = Generator[GenerationRequest, Generation, None]
"""Yields a row's next request and receives its generation."""


class Row:
    """One row in progress: prompt ids, then sampled and forced ids."""

    def __init__(self, prompt_ids: Sequence[int]):
        self.prompt_ids = tuple(prompt_ids)
        self.ids: list[int] = []
        self.forced: list[bool] = []
        """Parallel to ids: True for a token that was not sampled."""
        self.logprobs: list[float] = []
        """Parallel to ids, nats, nan for a forced token. Ends with the last sampled one; empty if the engine reports none."""
        self.prefix = 0
        """Number of leading ids that are those of the row from which this one branched."""
        self.finish: str | None = None
        """`eos` or `length` when the row has ended."""
        self.cut = False
        """The last phase reached its cap."""

    @property
    def written(self) -> int:
        """Number of forced ids."""
        return sum(self.forced)

    @property
    def sampled(self) -> int:
        return len(self.ids) - self.written

    def request(self, seed: int, cap: int, stop_ids: Sequence[int] = ()) -> GenerationRequest:
        """The request that continues the row, with the noise that a single request would have from here on."""
        return GenerationRequest((*self.prompt_ids, *self.ids), seed, cap, stop_ids=tuple(stop_ids), start=self.sampled)

    def take(self, generation: Generation) -> None:
        """Append what the engine sampled. The row is finished at EOS, `cut` at its cap, and neither at a stop id."""
        if generation.logprobs is not None:
            self.logprobs += [math.nan] * (len(self.ids) - len(self.logprobs)) + list(generation.logprobs)
        self.ids += generation.token_ids
        self.forced += [False] * len(generation.token_ids)
        self.cut = generation.finish == "length"
        if generation.finish == "eos":
            self.finish = "eos"

    def write(self, ids: Sequence[int]) -> None:
        """Append ids that were not sampled."""
        self.ids += ids
        self.forced += [True] * len(ids)

    def branch(self, length: int) -> Self:
        """A new row with the same prompt and the first `length` ids, unfinished."""
        found = copy.copy(self)
        found.ids, found.forced, found.logprobs = self.ids[:length], self.forced[:length], self.logprobs[:length]
        found.prefix, found.finish, found.cut = len(found.ids), None, False
        return found

    def shorten(self, length: int) -> None:
        """Drop all ids after the first `length`; the row is unfinished again."""
        del self.ids[length:], self.forced[length:], self.logprobs[length:]
        self.finish, self.cut = None, False

    def generation(self) -> Generation:
        """The whole row as one generation. A row that has not ended reached its cap."""
        forced = tuple(self.forced) if any(self.forced) else ()
        rest = [math.nan] * (len(self.ids) - len(self.logprobs))
        logprobs = tuple(self.logprobs + rest) if self.logprobs else None
        return Generation(tuple(self.ids), logprobs, self.finish or "length", forced, min(self.prefix, len(self.ids)))


def draw(row: Row, seed: int, cap: int, stop_ids: Sequence[int] = ()) -> Script:
    """One phase of at most `cap` tokens; no request for a row that has ended or may sample nothing."""
    if row.finish is None and cap > 0:
        row.take((yield row.request(seed, cap, stop_ids)))


def run_scripts(
    scripts: Sequence[Script],
    generate: Callable[[list[GenerationRequest]], list[Generation]],
    left_anywhere: Callable[[int], bool] = bool,
) -> None:
    """Advance all scripts to their ends, each round with one call of `generate`.

    `left_anywhere(n)`: whether this rank or another one has requests left, from the number on this rank. A call may be
    collective, so a rank with fewer rounds passes no requests, and `generate` must accept that.
    """
    waiting = {i: request for i, script in enumerate(scripts) if (request := next(script, None)) is not None}
    while left_anywhere(len(waiting)):
        answers = generate(list(waiting.values()))
        following = ((i, send(scripts[i], answer)) for i, answer in zip(waiting, answers, strict=True))
        waiting = {i: request for i, request in following if request is not None}


def send(script: Script, generation: Generation) -> GenerationRequest | None:
    """The script's next request, or None at its end."""
    try:
        return script.send(generation)
    except StopIteration:
        return None


def closed_at(ids: Sequence[int], end: Sequence[int]) -> int | None:
    """Position just after the first end marker, or None."""
    ids, end = tuple(ids), tuple(end)
    place = -1
    while end:
        try:
            place = ids.index(end[0], place + 1)
        except ValueError:
            break
        if ids[place : place + len(end)] == end:
            return place + len(end)
    return None


def stop_at(end: Sequence[int]) -> tuple[int, ...]:
    """Stop id of the end marker, if it is one token; otherwise the end of thinking is detected afterwards."""
    return tuple(end) if len(end) == 1 else ()


def has_marker(tokenizer: Any) -> bool:
    """True if the model ends its thinking with `</think>`: a token of the vocabulary, or text of the chat template."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    return "think>" in template or len(tokenizer.encode(END_OF_THINKING, add_special_tokens=False)) == 1
