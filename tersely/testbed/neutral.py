r"""Adds common prompts and prefills to the cold start, with random numbers that are unrelated to the trace.

Length methods use fixed sentences ("Think for 512 tokens."). A model that never saw them fails on them; a model that
was trained to follow them has already learned the method. So a share of the cold start's prompts contains one of them,
with a random number that is unrelated to the trace, and prefilled text is never trained on.
"""

from __future__ import annotations

import random
from typing import NamedTuple

IN_USER = (
    "Think for {n} tokens.",
    "Think for maximum {n} tokens.",
    "The output of the assistant should be within {n} tokens.",
    "Please answer within {n} tokens",
    "Please reason step by step, and put your final answer within \\boxed{}.",
    "Let's think step by step and output the final answer within \\boxed{}.",
)
IN_SYSTEM = (
    "You are a helpful assistant.",
    "Please reason step by step, and put your final answer within \\boxed{}.",
)
PREFILLS = (
    "I will answer the question with {n} tokens.",
    "I will answer the question within {n} tokens",
    "<budget>{n}</budget>",
    "<budget>{n}</budget><solution>",
    "<ANSWER>",
    "<COT>",
    "<CODE>",
    "<LONG_COT>",
    "...",
    "Alright",
)
CLOSED = ("</think>", "Okay, I think I have finished thinking.\n</think>")
SENTENCES = (*IN_USER, *IN_SYSTEM, *PREFILLS, *CLOSED, "</budget>", "</solution>", "</ANSWER>")


class Setting(NamedTuple):
    """Texts around a problem, all of which may be empty; `closed`: the prefill has ended the thought."""

    system: str = ""
    user: str = ""
    prefill: str = ""
    closed: bool = False

    def around(self, problem: str) -> str:
        """The prompt in the chat template, up to the first token that is trained."""
        system = f"<|system|>{self.system}" if self.system else ""
        return f"{system}<|user|>{problem}{self.user}<|assistant|><think>\n{self.prefill}"


def draw_setting(rng: random.Random, share: float, closed_share: float) -> Setting:
    """Sample a setting: mostly empty, a neutral string in `share` of the cases, a closed thought in `closed_share`."""
    chance = rng.random()
    if chance < closed_share:
        return Setting(prefill=rng.choice(CLOSED) + rng.choice(("\n", "\n\n")), closed=True)
    if chance >= closed_share + share:
        return Setting()
    place = rng.choice(("system", "user", "user", "prefill", "prefill"))
    number = str(rng.randint(1, 4096))
    if place == "system":
        return Setting(system=rng.choice(IN_SYSTEM))
    if place == "user":
        return Setting(user=rng.choice((" ", "\n", "\n\n")) + rng.choice(IN_USER).replace("{n}", number))
    text = rng.choice(PREFILLS).replace("{n}", number)
    return Setting(prefill=rng.choice(("", " ")) + text + rng.choice(("", "\n", "\n", " ")))
