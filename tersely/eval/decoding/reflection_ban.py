"""NoWait (2506.08343): bans reflection words while the model thinks.

A vocabulary id is banned when its text, without blanks and punctuation around it and in lower case, *equals* a keyword:
" Wait", "WAIT" and "Wait," match, "waiter" does not. Special, end-of-sequence and end-of-thinking ids are never banned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tersely.core.errors import require_choice
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import Decoded, Prompt, Session, Strategy, start

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# fmt: off
DEFAULT = (
    "wait", "alternatively", "hmm", "but", "however", "alternative", "another", "check", "double-check",
    "oh", "maybe", "verify", "other", "again", "now", "ah", "any",
)
# fmt: on


@dataclass(frozen=True)
class ReflectionBan(Strategy):
    keywords: tuple[str, ...] = DEFAULT
    scope: str = "thinking"
    """`thinking` ends the ban at the end marker, `all` does not."""
    match: str = "equal"
    """`substring` is the paper's rule, which also bans unrelated words."""

    def __post_init__(self) -> None:
        require_choice("reflection_ban.scope", self.scope, ("thinking", "all"))
        require_choice("reflection_ban.match", self.match, ("equal", "substring"))

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session, rows = Session(engine, sampling, seed), start(prompts)
        banned = tuple(self.banned(session.tokenizer))
        stop = session.stop_at_end if banned and self.scope == "thinking" else ()
        session.advance(rows, [row.left for row in rows], "thinking", stop_ids=stop, banned_ids=banned)
        for row in rows:
            row.finish = row.finish or ("length" if row.cut else None)
        session.answer(rows)
        return [session.decoded(row) for row in rows]

    def banned(self, tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
        """Banned id -> its text, for the report."""
        return _banned(self, tokenizer)

    def hits(self, text: str) -> bool:
        return bool(self._caught(text))

    def _caught(self, text: str) -> set[str]:
        """The keywords that ban this text."""
        word = re.sub(r"^[\W_]+|[\W_]+$", "", text).lower()
        if self.match == "equal":
            return {keyword for keyword in self.keywords if keyword.lower() == word != ""}
        return {keyword for keyword in self.keywords if keyword and keyword.lower() in word}

    def not_banned(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """Keywords that are not a single token."""
        caught = set().union(*map(self._caught, self.banned(tokenizer).values()))
        return [keyword for keyword in self.keywords if keyword not in caught]

    def facts(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """Details for the run card."""
        return {"banned": self.banned(tokenizer), "not_banned": self.not_banned(tokenizer)}


@lru_cache(maxsize=8)
def _banned(strategy: ReflectionBan, tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Cached per tokenizer: a vocabulary of 150,000 takes a second."""
    marks = ("<think>", "</think>")
    kept = {
        *tokenizer.all_special_ids,
        *(i for mark in marks for i in tokenizer.encode(mark, add_special_tokens=False)),
    }
    texts = {identity: tokenizer.decode([identity]) for identity in range(len(tokenizer)) if identity not in kept}
    return {identity: text for identity, text in texts.items() if strategy.hits(text)}
