"""LASER-D and LASER-DE: LASER with one target per difficulty band, refreshed from the policy's lengths.

Paper: arXiv 2505.15612, from the released code. Adapted: published targets come from 500 held-out prompts generated for
the purpose; here they come from the training groups.
    band = easy if p >= easy_threshold, medium if p >= medium_threshold, else hard       (tolerance 1e-9)
    r = correct_reward + bonus 1[L <= target(band)] correct,  wrong_reward incorrect,  malformed_reward not well formed
    LASER-DE: + bonus for an incorrect, well-formed row with L > target(band), not for truncated ones by `exclude_truncated`
    every `refresh_every`-th update, for each band seen since the last refresh:
        target = smallest T of min_target, min_target + step, ... <= max_target with n count(x <= T) >= count(x)
        n = max(1, floor(2G/3)) easy, max(1, floor(G/3)) medium, 1 hard;   no x, or no such T: max_target
    x = lengths of the band's correct rows (paper), or of all its decided rows (`form: released`)
Symbols: p solve rate; L, T, x sampled tokens; G the group size. Eight to a group: 20th percentile, median, maximum.
Against GRPO: as `laser`, with targets that follow the policy.
Degenerate: all incorrect: hard band, no bonus. K = 1: easy or hard. Equal lengths, one correct: the same formula. All
    truncated: by c. A band not seen keeps its target; a group without decided row is not buffered, but the call counts.
    Undecided -> nan.
Pitfalls: targets start at the maximum, so that the bonus is free until the first refresh. `exclude_truncated` replaces
    the paper's loop detector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tersely.core.errors import require_choice, require_range
from tersely.core.group_stats import (
    as_reward,
    correct_rows,
    decided_rows,
    formed_rows,
    lengths,
    reaches,
    solve_rate,
    truncated_rows,
)
from tersely.core.protocols import Reward
from tersely.core.types import Rollouts

BANDS = ("easy", "medium", "hard")


@dataclass
class LASERD(Reward):
    includes_outcome: ClassVar[bool] = True
    label: ClassVar[str] = "adapted: targets from the training groups, not from separate held-out generations"
    name: ClassVar[str] = "laser_d"

    correct_reward: float = 1.0
    bonus: float = 0.5
    wrong_reward: float = -0.5
    malformed_reward: float = -1.0
    easy_threshold: float = 2 / 3
    medium_threshold: float = 1 / 3
    initial_target: int | None = None
    min_target: int = 1024
    max_target: int = 16384
    step: int = 1024
    refresh_every: int = 20
    form: Literal["paper", "released"] = "paper"
    targets: dict[str, float] = field(init=False)
    """Target of each band, tokens."""
    buffer: dict[str, list[float]] = field(init=False)
    """Lengths x of each band since the last refresh."""
    updates: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        name = self.name
        require_range(f"{name}.correct_reward", self.correct_reward)
        require_range(f"{name}.bonus", self.bonus, at_least=0)
        require_range(f"{name}.wrong_reward", self.wrong_reward, at_most=self.correct_reward)
        require_range(f"{name}.malformed_reward", self.malformed_reward)
        require_range(f"{name}.easy_threshold", self.easy_threshold, at_least=0, at_most=1)
        require_range(f"{name}.medium_threshold", self.medium_threshold, at_least=0, at_most=self.easy_threshold)
        require_range(f"{name}.initial_target", self.initial_target, above=0)
        require_range(f"{name}.min_target", self.min_target, above=0)
        require_range(f"{name}.max_target", self.max_target, at_least=self.min_target)
        require_range(f"{name}.step", self.step, above=0)
        require_range(f"{name}.refresh_every", self.refresh_every, at_least=1)
        require_choice(f"{name}.form", self.form, ("paper", "released"))
        first = self.max_target if self.initial_target is None else self.initial_target
        self.targets = dict.fromkeys(BANDS, float(first))
        self.buffer = {}

    def __call__(self, rollouts: Rollouts) -> Tensor:
        short = lengths(rollouts) <= self._target_of(rollouts)
        paid = self.correct_reward + self.bonus * short.double()
        value = torch.where(correct_rows(rollouts), paid, self.wrong_reward + self._wrong_bonus(rollouts, short))
        return as_reward(torch.where(formed_rows(rollouts), value, self.malformed_reward), rollouts)

    def _wrong_bonus(self, rollouts: Rollouts, short: Tensor) -> Tensor:
        return torch.zeros_like(short, dtype=torch.float64)

    def _target_of(self, rollouts: Rollouts) -> Tensor:
        """(P, 1) tokens."""
        return torch.tensor([self.targets[band] for band in BANDS], dtype=torch.float64)[self._bands(rollouts)]

    def _bands(self, rollouts: Rollouts) -> Tensor:
        """(P, 1) index into BANDS."""
        rate = solve_rate(rollouts)
        middle = torch.where(reaches(rate, self.medium_threshold), 1, 2)
        return torch.where(reaches(rate, self.easy_threshold), 0, middle)

    def update(self, rollouts: Rollouts) -> None:
        decided, right, length = decided_rows(rollouts), correct_rows(rollouts), lengths(rollouts)
        rows = right if self.form == "paper" else decided
        bands = self._bands(rollouts).flatten()
        for index, band in enumerate(BANDS):
            groups = (bands == index) & decided.any(1)
            if groups.any():
                self.buffer.setdefault(band, []).extend(length[groups][rows[groups]].tolist())
        self.updates += 1
        if self.updates % self.refresh_every == 0:
            for band, x in self.buffer.items():
                self.targets[band] = self._coverage_target(
                    torch.tensor(x, dtype=torch.float64), band, rollouts.group_size
                )
            self.buffer = {}

    def _coverage_target(self, x: Tensor, band: str, group_size: int) -> float:
        """The smallest target on the grid that covers 1/n of the lengths x."""
        n = {"easy": max(1, 2 * group_size // 3), "medium": max(1, group_size // 3), "hard": 1}[band]
        grid = torch.arange(self.min_target, self.max_target + 1, self.step, dtype=x.dtype)
        covers = torch.searchsorted(x.sort().values, grid, right=True) * n >= len(x)
        found = len(x) > 0 and bool(covers.any())
        return float(grid[covers][0]) if found else float(self.max_target)

    def state_dict(self) -> dict[str, Any]:
        buffer = {band: list(x) for band, x in self.buffer.items()}
        return {"targets": dict(self.targets), "buffer": buffer, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.targets = {band: float(state["targets"][band]) for band in BANDS}
        self.buffer = {band: list(x) for band, x in state["buffer"].items()}
        self.updates = int(state["updates"])


@dataclass
class LASERDE(LASERD):
    name: ClassVar[str] = "laser_de"

    exclude_truncated: bool = True

    def _wrong_bonus(self, rollouts: Rollouts, short: Tensor) -> Tensor:
        explored = ~short & ~truncated_rows(rollouts) if self.exclude_truncated else ~short
        return self.bonus * explored.double()
