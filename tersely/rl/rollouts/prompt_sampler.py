"""Prompt sampler: the order of prompts over a whole run; a resume neither repeats nor skips prompts.

When transformers resumes in a later epoch, TRL's sampler would start again with the first epoch's permutation. Here the
permutation of epoch e depends only on (seed, e), and the run is one long stream, so that skipping n batches gives the
position of the interrupted run.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from tersely.core.errors import ConfigError


class PromptStream(Sampler[int]):
    """Row indices: each prompt `group_size` times, each generation batch `repeats` times, `batches` batches in all."""

    def __init__(self, rows: int, prompts: int, group_size: int, repeats: int, batches: int, seed: int, shuffle: bool):
        if rows < prompts:
            raise ConfigError(
                f"prompts_per_step: got {prompts}; expected at most {rows}, the prompts of the dataset. Lower it, or add data"
            )
        self.rows, self.prompts, self.group_size = rows, prompts, group_size
        self.repeats, self.batches, self.seed, self.shuffle = repeats, batches, seed, shuffle

    def batch(self, number: int) -> list[int]:
        """The prompts of one generation batch. Skips the rest of an epoch that does not fill a batch."""
        per_epoch = self.rows // self.prompts
        epoch, place = divmod(number, per_epoch)
        if not self.shuffle:
            return list(range(place * self.prompts, (place + 1) * self.prompts))
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        order = torch.randperm(self.rows, generator=generator)
        return order[place * self.prompts : (place + 1) * self.prompts].tolist()

    def __iter__(self) -> Iterator[int]:
        for number in range(self.batches):
            rows = [index for index in self.batch(number) for _ in range(self.group_size)]
            for _ in range(self.repeats):
                yield from rows

    def __len__(self) -> int:
        return self.batches * self.repeats * self.prompts * self.group_size
