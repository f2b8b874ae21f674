"""Shared classes of the decoding strategies: prompts, results, and sequences in progress, all as token ids.

A continuation is prompt ids + generated ids + injected ids. Decoded text is only for graders and patterns; it is never
tokenised again, because that would change ids at the boundaries. An injected string is tokenised separately.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tersely.core.errors import ConfigError
from tersely.core.parse_completion import END_OF_THINKING
from tersely.core.seeds import sample_seed
from tersely.data.benchmarks import Sampling
from tersely.engines import phases
from tersely.engines.base import Engine, Generation, GenerationRequest
from tersely.engines.chat import with_instruction
from tersely.engines.phases import closed_at, stop_at

ANSWER_CAP = 4096
"""Cap of a free answer after an injected end of thinking, tokens."""


@dataclass(frozen=True)
class Prompt:
    """One sample to decode. `max_new_tokens`: cap of a vanilla sample, already limited by the context."""

    prompt_id: str
    sample: int
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    messages: Sequence[dict[str, str]] = ()
    render: Callable[[Sequence[dict[str, str]]], tuple[int, ...]] | None = None
    """The chat template: messages -> prompt ids."""
    context: int | None = None
    """The model's longest sequence, tokens."""

    def instructed(self, instruction: str, separator: str = "\n") -> tuple[int, ...]:
        """Prompt ids with `instruction` at the end of the user's turn."""
        if not instruction:
            return self.prompt_ids
        if self.render is None:
            raise ConfigError("this strategy changes the prompt, so it needs the chat, not only its ids")
        if separator == "\n":
            return self.render(with_instruction(self.messages, instruction))
        last = self.messages[-1]
        return self.render([*self.messages[:-1], {**last, "content": f"{last['content']}{separator}{instruction}"}])


@dataclass(frozen=True)
class Decoded:
    """A finished sequence. It costs `len(token_ids) + extra_tokens` tokens."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """All ids after the prompt, injected ids included, in order."""
    injected: tuple[bool, ...]
    """Parallel to token_ids: True for a token that the strategy injected."""
    thinking_length: int
    """Tokens up to and including the end-of-thinking marker; all tokens without one."""
    extra_tokens: int
    """Tokens of probes and discarded branches; they count as cost but are not in token_ids."""
    finish: str
    """eos, length, forced or stopped_early."""
    truncated: bool = False
    """True if the last phase reached its cap."""
    budget: float | None = None
    """Requested number of tokens, if any."""
    phases: tuple[tuple[str, int], ...] = ()
    """(phase, tokens) in order, injections and probes included."""

    @property
    def cost(self) -> int:
        return len(self.token_ids) + self.extra_tokens


class Row(phases.Row):
    """One sequence in progress. `finish` is None until it ends; `cut`: the last phase reached its cap."""

    def __init__(self, prompt: Prompt, prompt_ids: Sequence[int], rounds: int = 0):
        super().__init__(prompt_ids)
        self.prompt, self.rounds, self.extra = prompt, rounds, 0
        self.phases: list[tuple[str, int]] = []

    @property
    def injected(self) -> list[bool]:
        """Parallel to ids: True for a token that the strategy injected."""
        return self.forced

    def add(self, ids: Sequence[int], what: str, injected: bool = False) -> None:
        if ids:
            self.ids += ids
            self.forced += [injected] * len(ids)
            self.phases.append((what, len(ids)))

    def branch(self, length: int) -> Row:
        """A new row that begins with the first `length` ids, its thinking."""
        found = super().branch(length)
        found.extra, found.phases = 0, [("thinking", len(found.ids))] if found.ids else []
        return found

    def pay(self, tokens: int, what: str) -> None:
        """Count tokens that were generated but not kept."""
        if tokens:
            self.extra += tokens
            self.phases.append((what, tokens))

    @property
    def left(self) -> int:
        """Tokens left until the cap of a vanilla sample (which counts generated tokens only) or the end of the context."""
        return min(self.prompt.max_new_tokens - self.sampled, self.room)

    @property
    def room(self) -> int:
        """Tokens left in the model's context."""
        if self.prompt.context is None:
            return 1 << 30
        return self.prompt.context - len(self.prompt_ids) - len(self.ids)


@dataclass
class Session:
    """One batch of rows on one engine. All strategies generate through `draw`."""

    engine: Engine
    sampling: Sampling
    seed: int

    def __post_init__(self) -> None:
        self.tokenizer = self.engine.tokenizer
        self.end = tuple(self.encode(END_OF_THINKING))

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False) if text else []

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    @property
    def stop_at_end(self) -> tuple[int, ...]:
        """Stop id of the end marker, if it is one token; otherwise the end of thinking is detected afterwards."""
        return stop_at(self.end)

    def ended_thinking(self, row: Row) -> bool:
        return closed_at(row.ids, self.end) is not None

    def draw(
        self,
        rows: Sequence[Row],
        caps: Sequence[int],
        *,
        tail: Sequence[int] = (),
        stop_ids: tuple[int, ...] = (),
        banned_ids: tuple[int, ...] = (),
        greedy: bool = False,
        temperatures: Sequence[float] | None = None,
        logprobs: bool = False,
    ) -> list[Generation]:
        """Generate once per row, after its ids and `tail`. The seed derives from the row's coordinates and its round.

        A cap below 1 generates nothing. `temperatures`, if given, has one value per row; temperature 0 is greedy.
        """
        found: list[Generation] = [Generation((), () if logprobs else None, "length") for _ in rows]
        groups: dict[float, list[int]] = {}
        for i, cap in enumerate(caps):
            if cap > 0:
                temperature = (
                    self.sampling.temperature
                    if temperatures is None or not self.sampling.temperature
                    else temperatures[i]
                )
                groups.setdefault(0.0 if greedy else temperature, []).append(i)
        for temperature, members in groups.items():
            requests = [
                GenerationRequest(
                    (*rows[i].prompt_ids, *rows[i].ids, *tail),
                    sample_seed(
                        self.seed, rows[i].rounds, rows[i].prompt.prompt_id, rows[i].prompt.sample, salt="eval"
                    ),
                    caps[i],
                    stop_ids,
                    banned_ids,
                    logprobs,
                )
                for i in members
            ]
            plain = temperature == 0
            generations = self.engine.generate(
                requests,
                temperature=temperature,
                top_p=1.0 if plain else self.sampling.top_p,
                top_k=0 if plain else self.sampling.top_k,
            )
            for i, generation in zip(members, generations, strict=True):
                found[i] = generation
        for row in rows:
            row.rounds += 1
        return found

    def advance(self, rows: Sequence[Row], caps: Sequence[int], what: str, **how: Any) -> None:
        """Generate and append. A row at EOS is finished, a row at its cap is `cut`, a row at a stop id is neither."""
        for row, generation in zip(rows, self.draw(rows, caps, **how), strict=True):
            row.take(generation)
            if generation.token_ids:
                row.phases.append((what, len(generation.token_ids)))

    def answer(self, rows: Sequence[Row], cap: int | None = None, **how: Any) -> None:
        """Generate the last phase: up to `cap` tokens, or (None) up to the cap of a vanilla sample."""
        rows = [row for row in rows if row.finish is None]
        self.advance(rows, [min(cap, row.room) if cap is not None else row.left for row in rows], "answer", **how)
        for row in rows:
            row.finish = row.finish or "length"

    def decoded(self, row: Row, finish: str | None = None, budget: float | None = None) -> Decoded:
        """Convert the row to a result; `finish` replaces the reason that ended its last phase."""
        ended = row.finish or "length"
        return Decoded(
            prompt_ids=tuple(row.prompt_ids),
            token_ids=tuple(row.ids),
            injected=tuple(row.injected),
            thinking_length=closed_at(row.ids, self.end) or len(row.ids),
            extra_tokens=row.extra,
            finish=finish or ended,
            truncated=ended == "length",
            budget=budget,
            phases=tuple(row.phases),
        )


@dataclass(frozen=True)
class Strategy:
    """Base class of the decoding strategies, which are frozen dataclasses of their parameters."""

    needs_marker: ClassVar[bool] = False
    """True: a model without an end-of-thinking marker is an error."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Names of the required engine capabilities, fields of `tersely.engines.registry.Capabilities`."""

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        """One or more sequences per prompt: those of the first variant for all prompts, then those of the next."""
        raise NotImplementedError

    def variants(self) -> Sequence[Strategy]:
        """The strategies that one call decodes, each with its own records."""
        return [self]

    def recorded(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters in the records of a variant, from those that the user gave."""
        return dict(given)

    def require_samples(self, samples: int) -> None:
        """Raise `ConfigError` if the strategy does not support this number of samples per problem."""

    def graded(self, text: str) -> str:
        """The part of a completion's text that the verifier reads."""
        return text


def start(prompts: Sequence[Prompt]) -> list[Row]:
    return [Row(prompt, prompt.prompt_ids) for prompt in prompts]
