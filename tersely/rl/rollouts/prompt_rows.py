"""Selects this rank's rows from the prompt sampler, once per generation batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from tersely.rl.rollouts.prompt_sampler import PromptStream

if TYPE_CHECKING:
    from trl import GRPOTrainer as _Base
else:
    _Base = object


class PromptRows(_Base):
    """Mixed into the trainer before GRPOTrainer."""

    def _get_train_sampler(self, dataset=None):
        repeats = self.num_iterations * self.args.steps_per_generation
        updates = repeats // self.args.gradient_accumulation_steps
        return PromptStream(
            rows=len(self.train_dataset if dataset is None else dataset),
            prompts=self.args.generation_batch_size // self.num_generations,
            group_size=self.num_generations,
            repeats=repeats,
            batches=math.ceil(self.args.max_steps / updates),
            seed=self.args.seed,
            shuffle=self.shuffle_dataset,
        )

    def get_train_dataloader(self):
        """Numbers of micro-steps. TRL's loader collates all rows of the generation batch again for each of them."""
        stream = self._get_train_sampler()
        return DataLoader(range(stream.batches * stream.repeats), batch_size=1, collate_fn=list)

    def rows_of(self, numbers: list[int]) -> list[dict[str, Any]]:
        """This rank's rows of the generation batch that begins with micro-step `numbers[0]`; a prompt is read once."""
        stream = self._get_train_sampler()
        prompts, group = stream.batch(numbers[0] // stream.repeats), self.num_generations
        count = len(prompts) * group // self.accelerator.num_processes
        first = self.accelerator.process_index * count
        places = range(first, first + count)
        found = {place: self.train_dataset[prompts[place]] for place in sorted({row // group for row in places})}
        return [dict(found[row // group]) for row in places]
