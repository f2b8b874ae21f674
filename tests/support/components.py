"""Rewards for runs in processes of their own: they ask for every field of `Rollouts`, and write what they get to a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import torch

from tersely.core.types import Rollouts
from tersely.rewards.etr import ETR
from tersely.rl.rollouts import token_fields

FOLDER = "TERSELY_TEST_ROLLOUTS"
MADE_UP = ("probe", "one")
"""Prompt ids of the rollouts that components are tried on before a run."""


def lines(tokenizer):
    """The testbed writes one newline between its steps and has no token with two."""
    return torch.tensor(["\n" in tokenizer.decode([i]) for i in range(len(tokenizer))])


token_fields.step_ends = lines


@dataclass(frozen=True)
class Writes(ETR):
    needs: ClassVar[tuple[str, ...]] = (
        *("token_ids", "entropy", "old_logp", "step", "thinking_end", "answer_start", "reflections", "repeated"),
        *("completion_text", "columns:level"),
    )

    def __call__(self, rollouts):
        if rollouts.prompt_id[0] not in MADE_UP:
            folder = Path(os.environ[FOLDER]) / os.environ.get("RANK", "0")
            folder.mkdir(exist_ok=True, parents=True)
            found = {field.name: getattr(rollouts, field.name) for field in fields(Rollouts)}
            found["memory"] = rollouts.memory.state_dict()
            torch.save(found, folder / f"{len(list(folder.iterdir()))}.pt")
        return super().__call__(rollouts)


@dataclass(frozen=True)
class WritesReferences(Writes):
    """Also the probabilities of the reference answer."""

    needs: ClassVar[tuple[str, ...]] = (*Writes.needs, "reference_score", "reference_base", "reference_logp")
