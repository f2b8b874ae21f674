"""Chooses the number of ranks and servers on this machine's GPUs, so that the ranks divide the batch of every stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.update.batch_size import BatchLayout


def check_batch(recipe: Recipe, ranks: int) -> None:
    """Raise if the batch of the recipe or of a stage does not divide over the ranks."""
    for stage in recipe.stages:
        if stage.kind == "rl":
            BatchLayout.of(stage.recipe, ranks)


def divides(recipe: Recipe, ranks: int) -> bool:
    try:
        check_batch(recipe, ranks)
    except ConfigError:
        return False
    return True


def largest_count(recipe: Recipe, most: int) -> int | None:
    """Largest number of ranks up to `most` that divides the batch; None if there is none."""
    return next((ranks for ranks in range(most, 0, -1) if divides(recipe, ranks)), None)


def ranks_and_servers(recipe: Recipe, gpus: int) -> tuple[int, int]:
    """(ranks, servers) for this many GPUs: uses all GPUs, divides the batch, with the fewest servers."""
    found = next((gpus - servers for servers in range(1, gpus) if divides(recipe, gpus - servers)), None)
    return (gpus - 1, 1) if found is None else (found, gpus - found)


@dataclass(frozen=True)
class Devices:
    """Ranks and servers that `launch local` starts, and their GPUs."""

    ranks: int
    servers: int
    training: tuple[str, ...]
    """Training GPUs, by their names in CUDA_VISIBLE_DEVICES; empty without GPUs."""
    serving: tuple[str, ...]
    unused: int = 0

    def line(self) -> str:
        """One-line description of the division."""
        if not self.training:
            return f"{self.ranks} rank{'s' * (self.ranks > 1)} on the CPU"
        parts = [
            f"training: {self.ranks} rank{'s' * (self.ranks > 1)} on CUDA_VISIBLE_DEVICES={','.join(self.training)}"
        ]
        parts += [f"server {index}: CUDA_VISIBLE_DEVICES={name}" for index, name in enumerate(self.serving)]
        if self.unused:
            parts.append(f"unused GPUs: {self.unused}, because the batch does not divide over more ranks")
        return "; ".join(parts)


def devices_of(
    recipe: Recipe, names: Sequence[str], *, serve: bool, processes: int | None, servers: int | None
) -> Devices:
    """Divide the visible GPUs `names`. `processes` and `servers` are None if the user did not set them.

    A number that is not set is chosen so that the batch divides. Raises if a number that is set cannot work.
    """
    for option, value in (("--processes", processes), ("--rollout-servers", servers)):
        if value is not None and value < 1:
            raise ConfigError(f"{option}: got {value}; expected at least 1")
    gpus = len(names)
    if not serve or not gpus:
        most, serving = gpus, (servers or 1) if serve else 0
    elif servers is None and processes is None:
        most, serving = ranks_and_servers(recipe, gpus) if gpus > 1 else (0, 1)
    else:
        serving = servers if servers is not None else max(1, gpus - (processes or 0))
        most = gpus - serving
    if serve and gpus and most < 1:
        raise ConfigError(
            f"--rollout-servers: got {serving}; expected at most {gpus - 1} with {gpus} GPUs. Or use engine: vllm"
        )
    if processes is not None and gpus and processes > most:
        raise ConfigError(
            f"--processes: got {processes}; expected at most {most}, one per visible GPU that no server uses"
        )
    ranks = processes or largest_count(recipe, max(1, most)) or max(1, most)
    check_batch(recipe, ranks)
    if not gpus:
        return Devices(ranks, serving, (), ())
    return Devices(ranks, serving, tuple(names[:ranks]), tuple(names[gpus - serving :]) if serve else (), most - ranks)
