"""Chooses the number of ranks and servers on this machine's GPUs, so that the ranks divide the batch of every stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.update.batch_size import BatchLayout


def check_batch(recipe: Recipe, ranks: int) -> None:
    """Raise where the batch of the recipe, or of one of its stages, does not divide over the ranks."""
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
    """The largest number of ranks up to `most` that divides the batch; None where not even one rank does."""
    return next((ranks for ranks in range(most, 0, -1) if divides(recipe, ranks)), None)


def ranks_and_servers(recipe: Recipe, gpus: int) -> tuple[int, int]:
    """(ranks, servers) on this many GPUs: all GPUs used, the batch divided, as few servers as possible."""
    found = next((gpus - servers for servers in range(1, gpus) if divides(recipe, gpus - servers)), None)
    return (gpus - 1, 1) if found is None else (found, gpus - found)


@dataclass(frozen=True)
class Devices:
    """What `launch local` starts, and on which GPUs."""

    ranks: int
    servers: int
    training: tuple[str, ...]
    """GPUs of the training, by their names in CUDA_VISIBLE_DEVICES; empty without GPUs."""
    serving: tuple[str, ...]
    unused: int = 0

    def line(self) -> str:
        """One line that shows the division."""
        if not self.training:
            return f"{self.ranks} rank{'s' * (self.ranks > 1)} on the CPU"
        parts = [
            f"training: {self.ranks} rank{'s' * (self.ranks > 1)} on CUDA_VISIBLE_DEVICES={','.join(self.training)}"
        ]
        parts += [f"server {index}: CUDA_VISIBLE_DEVICES={name}" for index, name in enumerate(self.serving)]
        if self.unused:
            parts.append(f"unused GPUs: {self.unused}, as the batch does not divide over more ranks")
        return "; ".join(parts)


def devices_of(
    recipe: Recipe, names: Sequence[str], *, serve: bool, processes: int | None, servers: int | None
) -> Devices:
    """The division of the visible GPUs `names`. `processes` and `servers` are None where the user stated none.

    A number of ranks or servers that nobody stated is chosen so that the batch divides. Raises where a stated one cannot work.
    """
    for option, value in (("--processes", processes), ("--rollout-servers", servers)):
        if value is not None and value < 1:
            raise ConfigError(f"{option} is {value}; it must be at least 1")
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
            f"{serving} servers take all {gpus} GPUs; --rollout-servers of at most {gpus - 1}, or engine: vllm"
        )
    if processes is not None and gpus and processes > most:
        raise ConfigError(
            f"--processes: got {processes}; expected at most {most}, one per GPU that is visible and not a server's"
        )
    ranks = processes or largest_count(recipe, max(1, most)) or max(1, most)
    check_batch(recipe, ranks)
    if not gpus:
        return Devices(ranks, serving, (), ())
    return Devices(ranks, serving, tuple(names[:ranks]), tuple(names[gpus - serving :]) if serve else (), most - ranks)
