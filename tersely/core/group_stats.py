"""Statistics of whole groups, in float64, over decided rows only.

Shapes: (N,) in, (P, K) or (P, 1) out. A statistic over no row is nan, so that each caller decides how to handle it.
float64, because the float32 mean of equal numbers can be off by one ulp, and an estimator that divides by a small
epsilon turns that ulp into a training signal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tersely.core.types import Rollouts


def grouped(values: Tensor, group_size: int) -> Tensor:
    """(N,) of any dtype -> (P, K) float64."""
    return values.reshape(-1, group_size).double()


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """(P, 1) mean of `values` (P, K) over the `chosen` (P, K) bool; nan where none is chosen."""
    count = chosen.sum(1, keepdim=True)
    shift = _first(values, chosen)
    total = torch.where(chosen, values - shift, 0.0).sum(1, keepdim=True)
    return torch.where(count > 0, shift + total / count.clamp(min=1), torch.nan)


def std_of(values: Tensor, chosen: Tensor, *, sample: bool) -> Tensor:
    """(P, 1) standard deviation over the chosen, with n-1 if `sample`; 0 for one value, nan for none."""
    count = chosen.sum(1, keepdim=True)
    gap = torch.where(chosen, values - mean_of(values, chosen), 0.0)
    divisor = (count - 1 if sample else count).clamp(min=1)
    return torch.where(count > 0, (gap.square().sum(1, keepdim=True) / divisor).sqrt(), torch.nan)


def min_of(values: Tensor, chosen: Tensor) -> Tensor:
    """(P, 1); nan where none is chosen."""
    found = torch.where(chosen, values, torch.inf).amin(1, keepdim=True)
    return torch.where(chosen.any(1, keepdim=True), found, torch.nan)


def max_of(values: Tensor, chosen: Tensor) -> Tensor:
    """(P, 1); nan where none is chosen."""
    return -min_of(-values, chosen)


def quantile_of(values: Tensor, chosen: Tensor, q: float) -> Tensor:
    """(P, 1) linear-interpolation quantile over the chosen; nan where none is chosen. q = 0.5 is the median."""
    return torch.nanquantile(torch.where(chosen, values, torch.nan), q, dim=1, keepdim=True)


def zscore_within(values: Tensor, chosen: Tensor, *, sample: bool, epsilon: float = 0.0) -> Tensor:
    """(P, K) (value - mean) / (std + epsilon) over the chosen; 0 on other rows, for one row and for equal values."""
    gap = torch.where(chosen, values - mean_of(values, chosen), 0.0)
    spread = std_of(values, chosen, sample=sample).nan_to_num(0.0)
    return torch.where(spread > 0, gap / (spread + epsilon), 0.0)


def either(chosen: Tensor, yes: float, no: float) -> Tensor:
    """float64 of any shape: `yes` where chosen, `no` elsewhere."""
    return torch.full(chosen.shape, no, dtype=torch.float64).masked_fill(chosen, yes)


def share_of(chosen: Tensor, among: Tensor) -> Tensor:
    """(P, 1) number of rows `chosen` (P, K) bool / number of rows `among` (P, K) bool; nan if `among` has none."""
    return chosen.sum(1, keepdim=True).double() / among.sum(1, keepdim=True).double()


def reaches(share: Tensor, threshold: float) -> Tensor:
    """`share >= threshold` with a tolerance of 1e-9, so that rounding does not matter for 2 of 3 and 2/3."""
    return share >= threshold - 1e-9


def solve_rate(rollouts: Rollouts) -> Tensor:
    """(P, 1) share of correct rows among the decided; nan where none is decided."""
    return share_of(correct_rows(rollouts), decided_rows(rollouts))


def correct_rows(rollouts: Rollouts) -> Tensor:
    """(P, K) bool."""
    return rollouts.correct.reshape(-1, rollouts.group_size) == 1


def incorrect_rows(rollouts: Rollouts) -> Tensor:
    """(P, K) bool."""
    return rollouts.correct.reshape(-1, rollouts.group_size) == 0


def decided_rows(rollouts: Rollouts) -> Tensor:
    """(P, K) bool."""
    return rollouts.decided.reshape(-1, rollouts.group_size)


def lengths(rollouts: Rollouts) -> Tensor:
    """(P, K) float64 tokens."""
    return grouped(rollouts.length, rollouts.group_size)


def formed_rows(rollouts: Rollouts) -> Tensor:
    """(P, K) bool: the row keeps the output contract; all rows if `rollouts.well_formed` is None."""
    if rollouts.well_formed is None:
        return torch.ones_like(decided_rows(rollouts))
    return rollouts.well_formed.reshape(-1, rollouts.group_size).bool()


def truncated_rows(rollouts: Rollouts) -> Tensor:
    """(P, K) bool: stopped by the cap. A row that ends with EOS exactly at the cap is not truncated."""
    return rollouts.truncated.reshape(-1, rollouts.group_size).bool()


def cap(max_length: int | None, rollouts: Rollouts) -> float:
    """Cap in tokens: the component's `max_length` if set, else the run's."""
    return float(rollouts.max_length if max_length is None else max_length)


def budgets(rollouts: Rollouts, component: str) -> Tensor:
    """(P, K) float64 tokens, nan for a row without a budget; raises if `rollouts.budget` is None."""
    return grouped(rollouts.require("budget", component), rollouts.group_size)


def rows_in_mode(rollouts: Rollouts, mode: str, component: str) -> Tensor:
    """(P, K) bool: rows of this mode; raises if `rollouts.mode` is None."""
    modes = rollouts.require("mode", component)
    return torch.tensor([name == mode for name in modes], dtype=torch.bool).view(-1, rollouts.group_size)


def rows_of_same_mode(rollouts: Rollouts, component: str) -> Tensor:
    """(P, K) float64: number of decided rows in the group with the row's mode."""
    modes = rollouts.require("mode", component)
    code = {name: index for index, name in enumerate(dict.fromkeys(modes))}
    codes = torch.tensor([code[name] for name in modes], dtype=torch.int64).view(-1, rollouts.group_size)
    return sum_over_equal(decided_rows(rollouts).double(), codes)


def sum_over_equal(values: Tensor, keys: Tensor) -> Tensor:
    """(P, K): sum of `values` (P, K) over the group's rows with the same key (P, K)."""
    equal = keys.unsqueeze(2) == keys.unsqueeze(1)
    return torch.where(equal, values.unsqueeze(1), 0.0).sum(2)


def group_ids(rollouts: Rollouts) -> list[str]:
    """The P prompt ids."""
    return list(rollouts.prompt_id[:: rollouts.group_size])


def remembered(rollouts: Rollouts, field: str) -> Tensor:
    """(P, 1) float64 from the prompt memory, nan for a prompt without this record."""
    memory, ids = rollouts.memory, group_ids(rollouts)
    values = [None if memory is None else memory.get(prompt_id, field) for prompt_id in ids]
    found = [torch.nan if value is None else float(value) for value in values]
    return torch.tensor(found, dtype=torch.float64).unsqueeze(1)


def remember(rollouts: Rollouts, field: str, values: Tensor, component: str, *, lowest: bool = False) -> None:
    """Write (P, 1) `values` to the prompt memory under `field`; skips nan, and `lowest` keeps a smaller record.

    Raises if there is a value to write and `rollouts.memory` is None.
    """
    for prompt_id, value in zip(group_ids(rollouts), values.flatten().tolist(), strict=True):
        if math.isnan(value):
            continue
        memory = rollouts.require("memory", component)
        known = memory.get(prompt_id, field) if lowest else None
        memory.set(prompt_id, field, value if known is None else min(known, value))


def as_reward(values: Tensor, rollouts: Rollouts) -> Tensor:
    """(P, K) or (N,) -> (N,) float32, nan where the verdict is undecided."""
    decided = decided_rows(rollouts)
    return torch.where(decided, values.reshape(decided.shape), torch.nan).flatten().float()


def _first(values: Tensor, chosen: Tensor) -> Tensor:
    """(P, 1) the first chosen value; subtracting it makes equal values exactly zero."""
    index = chosen.to(torch.uint8).argmax(1, keepdim=True)
    return torch.where(chosen.any(1, keepdim=True), values.gather(1, index), 0.0)
