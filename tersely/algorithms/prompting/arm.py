"""ARM's prompting: one of four answer formats, chosen by the model or set by a prefilled tag.

Paper: arXiv 2505.20258, and its released code. The reward is `rewards/arm.py`.
    direct <ANSWER>, short_cot <COT>, code <CODE>, long_cot <LONG_COT>; the answer always inside <ANSWER>...</ANSWER>
    prefill = the tag and a newline if `mode` is a format, nothing if it is `adaptive`
Symbols: none.
Against GRPO: the format of a rollout is read from its first tag.
Degenerate: K = 1 is fine; nothing depends on memory or seed. No tag: mode `none`, not well formed.
Pitfalls: the model needs fine-tuning on all four formats first, and the tags must survive decoding (no special tokens).
    Consensus (three cheap formats, long on disagreement) belongs to evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersely.core.errors import require_choice
from tersely.core.memory import PromptMemory
from tersely.core.parse_completion import ParsedCompletion
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan

TAGS = {"direct": "ANSWER", "short_cot": "COT", "code": "CODE", "long_cot": "LONG_COT"}


@dataclass(frozen=True)
class ARMPrompting(Prompting):
    mode: Literal["adaptive", "direct", "short_cot", "code", "long_cot"] = "adaptive"

    def __post_init__(self) -> None:
        require_choice("arm.mode", self.mode, ("adaptive", *TAGS))

    def __call__(
        self, prompt_ids: Sequence[str], group_size: int, memory: PromptMemory | None = None, seed: int = 0
    ) -> list[RolloutPlan]:
        plan = (
            RolloutPlan() if self.mode == "adaptive" else RolloutPlan(prefill=f"<{TAGS[self.mode]}>\n", mode=self.mode)
        )
        return [plan] * (len(prompt_ids) * group_size)

    @staticmethod
    def parse(turn: str) -> ParsedCompletion:
        """Parse the assistant's whole turn; the mode is that of the first tag."""
        starts = {mode: turn.find(f"<{tag}>") for mode, tag in TAGS.items()}
        found = {mode: start for mode, start in starts.items() if start >= 0}
        if not found:
            return ParsedCompletion(well_formed=False, mode="none")
        mode = min(found, key=lambda name: found[name])
        return ParsedCompletion(well_formed=_closed(turn, TAGS[mode]) and _answered(turn), mode=mode)


def _closed(turn: str, tag: str) -> bool:
    """True if the format's part is opened and closed once, before the answer."""
    opened, closed = f"<{tag}>", f"</{tag}>"
    once = turn.count(opened) == 1 and turn.count(closed) == 1
    return once and (tag == "ANSWER" or turn.find(opened) < turn.find(closed) < turn.find("<ANSWER>"))


def _answered(turn: str) -> bool:
    """True if there is exactly one answer, not empty."""
    if turn.count("<ANSWER>") != 1 or turn.count("</ANSWER>") != 1:
        return False
    return bool(turn.partition("<ANSWER>")[2].partition("</ANSWER>")[0].strip())
