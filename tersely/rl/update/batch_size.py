"""Batch sizes: computes all sizes from the recipe's keys.

rows = prompts_per_step * group_size            one generation batch, over all ranks
rows per rank = rows / ranks
micro-batches per rank = rows per rank / micro_batch        (TRL's steps_per_generation)
accumulation = micro-batches per rank / updates_per_batch   (gradient_accumulation_steps)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError

PLANNED_WORLD_SIZE = "TERSELY_WORLD_SIZE"
"""Environment variable with the number of ranks that the launcher planned."""


@dataclass(frozen=True)
class BatchLayout:
    prompts_per_step: int
    group_size: int
    micro_batch: int
    updates_per_batch: int = 1
    ranks: int = 1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ConfigError(f"{name}: got {value}; expected at least 1")
        if self.group_size < 2:
            raise ConfigError(f"group_size: got {self.group_size}; expected at least 2 rollouts per prompt")
        if self.rows % self.ranks:
            raise ConfigError(
                f"prompts_per_step * group_size = {self.prompts_per_step} * {self.group_size} = {self.rows} rows do not "
                f"divide over {self.ranks} ranks. Make it a multiple of {self.ranks}"
            )
        if self.rows_per_rank % self.micro_batch:
            raise ConfigError(
                f"micro_batch: got {self.micro_batch}; expected a divisor of the {self.rows_per_rank} rows per rank: "
                f"{_divisors(self.rows_per_rank)}"
            )
        if self.micro_batches % self.updates_per_batch:
            raise ConfigError(
                f"updates_per_batch: got {self.updates_per_batch}; expected a divisor of the {self.micro_batches} "
                f"micro-batches per rank: {_divisors(self.micro_batches)} (a smaller micro_batch gives more)"
            )

    @classmethod
    def of(cls, recipe: Recipe, ranks: int) -> BatchLayout:
        """Batch layout of a recipe or of a stage's recipe on this number of ranks."""
        return cls(recipe.prompts_per_step, recipe.group_size, recipe.micro_batch, recipe.updates_per_batch, ranks)

    @property
    def rows(self) -> int:
        return self.prompts_per_step * self.group_size

    @property
    def rows_per_rank(self) -> int:
        return self.rows // self.ranks

    @property
    def micro_batches(self) -> int:
        return self.rows_per_rank // self.micro_batch

    @property
    def accumulation(self) -> int:
        return self.micro_batches // self.updates_per_batch

    def trl_arguments(self) -> dict[str, int]:
        """The sizes by the names of TRL's GRPOConfig."""
        return {
            "num_generations": self.group_size,
            "per_device_train_batch_size": self.micro_batch,
            "gradient_accumulation_steps": self.accumulation,
            "steps_per_generation": self.micro_batches,
        }

    def table(self) -> list[tuple[str, int, str]]:
        """(name, value, origin), in reading order."""
        return [
            ("prompts_per_step", self.prompts_per_step, "stated"),
            ("group_size", self.group_size, "stated"),
            ("micro_batch", self.micro_batch, "recipe: rows per forward pass on one rank"),
            ("updates_per_batch", self.updates_per_batch, "recipe: optimizer steps per generation batch"),
            ("ranks", self.ranks, "from the launcher"),
            ("rows", self.rows, "prompts_per_step * group_size"),
            ("rows_per_rank", self.rows_per_rank, "rows / ranks"),
            ("micro_batches", self.micro_batches, "rows_per_rank / micro_batch"),
            ("accumulation", self.accumulation, "micro_batches / updates_per_batch"),
        ]


def updates_of_a_batch(args: Any) -> int:
    """Optimizer steps per generation batch, from a GRPOConfig; 1 for an SFTConfig."""
    generated = getattr(args, "steps_per_generation", None)
    if generated is None:
        return 1
    return max(1, generated * args.num_iterations // args.gradient_accumulation_steps)


def _divisors(number: int) -> str:
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)
