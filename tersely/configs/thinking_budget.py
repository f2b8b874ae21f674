"""The `thinking_budget:` section of a recipe: closes the thinking of a row after a number of tokens.

Budget forcing in training rollouts (s1, arXiv 2501.19393). A row that has sampled `tokens` thinking tokens without the end of
thinking gets `text`, which is not trained on, and then samples its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tersely.core.errors import ConfigError, check_fields, require_mapping, require_range
from tersely.core.parse_completion import END_OF_THINKING

KEY = "thinking_budget"


@dataclass(frozen=True)
class ThinkingBudget:
    """Default budget of every rollout; a plan's own values have priority."""

    tokens: int = 4096
    """Sampled thinking tokens."""
    answer_tokens: int | None = None
    """Cap of the answer, tokens. None: what the row's cap leaves."""
    text: str = "\n</think>\n\n"
    """Text that ends the thinking."""
    final_tokens: int | None = None
    """Budget at the end of the stage; it changes linearly from `tokens`. None: it is constant."""

    def __post_init__(self) -> None:
        for name in ("tokens", "answer_tokens", "final_tokens"):
            require_range(f"{KEY}.{name}", getattr(self, name), at_least=1)
        if END_OF_THINKING not in self.text:
            raise ConfigError(f"{KEY}.text: got {self.text!r}; expected a text with {END_OF_THINKING}. Add it")

    @classmethod
    def of(cls, section: Any) -> ThinkingBudget | None:
        """The budget of a recipe's section; None without one."""
        if section is None or isinstance(section, cls):
            return section
        require_mapping(KEY, section, "{tokens: 4096}")
        return cls(**check_fields(cls, section, KEY))

    @property
    def largest(self) -> int:
        return max(self.tokens, self.final_tokens or 0)

    def at(self, progress: float) -> int:
        """Tokens at this share of the stage, rounded half up."""
        last = self.tokens if self.final_tokens is None else self.final_tokens
        return int(self.tokens + (last - self.tokens) * min(max(progress, 0.0), 1.0) + 0.5)
