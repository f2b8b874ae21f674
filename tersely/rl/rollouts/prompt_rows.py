"""Selects this rank's rows from the prompt sampler, once per generation batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tersely.rl.rollouts.prompt_sampler import PromptStream


@dataclass(frozen=True)
class PromptRows:
    """This rank's rows of every generation batch. `dataset` returns a row by index."""

    dataset: Sequence[dict[str, Any]]
    stream: PromptStream
    rank: int = 0
    ranks: int = 1

    @classmethod
    def of(cls, args: Any, dataset: Sequence[dict[str, Any]], rank: int, ranks: int) -> PromptRows:
        """`args` is TRL's GRPOConfig."""
        repeats = args.num_iterations * args.steps_per_generation
        stream = PromptStream(
            rows=len(dataset),
            prompts=args.generation_batch_size // args.num_generations,
            group_size=args.num_generations,
            repeats=repeats,
            batches=math.ceil(args.max_steps / (repeats // args.gradient_accumulation_steps)),
            seed=args.seed,
            shuffle=args.shuffle_dataset,
        )
        return cls(dataset, stream, rank, ranks)

    @property
    def micro_steps(self) -> int:
        """Number of micro-steps of the run; the prompts of a generation batch are used for `repeats` of them."""
        return self.stream.batches * self.stream.repeats

    def at(self, micro_step: int) -> list[dict[str, Any]]:
        """The rows of this micro-step's generation batch; each prompt is read once."""
        prompts, group = self.stream.batch(micro_step // self.stream.repeats), self.stream.group_size
        count = len(prompts) * group // self.ranks
        places = range(self.rank * count, (self.rank + 1) * count)
        found = {place: self.dataset[prompts[place]] for place in sorted({row // group for row in places})}
        return [dict(found[row // group]) for row in places]
