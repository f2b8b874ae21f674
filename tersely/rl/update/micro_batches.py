"""Token-balanced micro-batches: rows are grouped by length to keep padding low.

TRL shuffles the rows of a generation batch, splits them into micro-batches of equal row counts and pads each to the longest
row of all. Here the trained rows are distributed evenly over the optimizer steps of a generation batch (`windows_of`), by
(run seed, step, global row), so that the number of ranks does not matter. A step without trained rows on any rank is skipped
(`RolloutTrainer.skip_update`). Within each step's rows:

    rows without any signal are left out (advantage 0 everywhere, or masked, with a loss that is 0 there)
    the others are sorted by length and split with the least padding; no micro-batch has more padded tokens than the
        largest of TRL's, so that peak memory is not higher
    every rank has as many micro-batches as the busiest one; additional ones are a row without loss
    the remaining accumulation steps are skipped on all ranks

The loss of an optimizer step is a sum over tokens divided by counts of the whole batch, so the split does not change it. A
loss that depends on the other rows of the micro-batch (see `algorithms/loss_dependence.py`) keeps TRL's split, unless
`micro_batching: always`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersely.algorithms.loss_dependence import depends_on_cut, silent_without_advantage
from tersely.algorithms.objective import Objective
from tersely.configs.recipe import TRL_LOSS_TYPES, Recipe
from tersely.core.findings import Finding
from tersely.core.protocols import Loss, loss_chain
from tersely.core.seeds import sample_seed

START_COST = 256
"""Cost of one more micro-batch in tokens, so that a batch of short rows is not split into many small ones."""


def why_not(planned: bool | str, loss_fn: Loss, *, trl_loss: bool = False, aux_loss: bool = False) -> str | None:
    """Reason to keep TRL's split; None for token-balanced micro-batches."""
    if planned is False:
        return "micro_batching is false"
    if trl_loss:
        return "TRL's own loss has means over the micro-batch"
    if aux_loss:
        return "the router's auxiliary loss is a mean over the micro-batch"
    if planned != "always" and depends_on_cut(loss_fn):
        return (
            f"loss {type(loss_fn).__name__} has statistics of the micro-batch, so its size and split are part of the "
            "method; `micro_batching: always` balances it anyway"
        )
    return None


def notices(run: Recipe, loss_fn: Loss) -> list[Finding]:
    """Note if token-balanced micro-batches are requested but not used."""
    reason = why_not(run.micro_batching, loss_fn, trl_loss=run.trl.get("loss_type") in TRL_LOSS_TYPES)
    if run.micro_batching is False or reason is None:
        return []
    return [Finding("note", "micro_batching", f"micro-batches are not token-balanced: {reason}")]


def cut(completion: Sequence[int], prompt: Sequence[int], budget: int, at_most: int) -> list[list[int]]:
    """Row numbers of each micro-batch, longest rows first.

    Lengths in tokens. Splits the sorted rows with the least padded tokens (one more micro-batch costs `START_COST`), none above
    `budget` padded tokens unless a single row is, and at most `at_most` micro-batches.
    """
    if not completion:
        return []
    order = np.argsort(-np.asarray(completion), kind="stable")
    lengths, prompts = np.asarray(completion)[order], np.asarray(prompt)[order]
    start_cost = float(START_COST)
    while True:
        starts = _cheapest(lengths, prompts, budget, start_cost)
        if len(starts) <= at_most or start_cost > 1e12:
            ends = [*starts[1:], len(order)]
            return [order[a:b].tolist() for a, b in zip(starts, ends, strict=True)]
        start_cost *= 2


def _cheapest(lengths: np.ndarray, prompts: np.ndarray, budget: int, start_cost: float) -> list[int]:
    """Start of each part of the sorted rows, by dynamic programming over the ends.

    Extending a part at either end adds padded tokens, so the search stops at a part above the budget.
    """
    count, first = len(lengths), 0
    best, came = np.zeros(count + 1), np.zeros(count + 1, dtype=int)
    for end in range(1, count + 1):
        widest = np.maximum.accumulate(prompts[first:end][::-1])[::-1]
        tokens = np.arange(end - first, 0, -1) * (lengths[first:end] + widest)
        above = int(np.searchsorted(-tokens, -budget))
        first = min(first + above, end - 1)
        total = best[first:end] + tokens[first - end :] + start_cost
        came[end] = first + int(total.argmin())
        best[end] = total[came[end] - first]
    starts, end = [], count
    while end:
        end = int(came[end])
        starts.append(end)
    return starts[::-1]


def take(batch: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """These rows of a generation batch; values without a row dimension are kept."""
    count = batch["completion_ids"].shape[0]
    index = torch.tensor(list(rows), device=batch["completion_ids"].device)

    def rows_of(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[index] if value.dim() and value.shape[0] == count else value
        return [value[i] for i in rows] if isinstance(value, list) and len(value) == count else value

    return {key: rows_of(value) for key, value in batch.items()}


def without_loss(batch: dict[str, Any]) -> dict[str, Any]:
    """A micro-batch of the shortest row, masked: it takes part in collectives but adds nothing."""
    row = take(batch, [int(batch["completion_mask"].sum(1).argmin())])
    return row | {key: torch.zeros_like(row[key]) for key in ("train_mask", "advantages")} | {"spare": True}


def windows_of(trains: Sequence[bool], windows: int, seed: int) -> list[int]:
    """The update window of each row of a whole generation batch.

    Of every `windows` adjacent rows, one goes to each window, so that windows have equal size on any number of ranks.
    Trained rows go to the windows with the fewest so far, ties by `seed`: their numbers differ by at most one.
    """
    rows = np.asarray(trains, dtype=bool)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(windows), (len(rows) // windows, 1)), axis=1)
    counts, found = np.zeros(windows, dtype=int), np.empty(len(rows), dtype=int)
    for number, shuffled in enumerate(order):
        block = slice(number * windows, (number + 1) * windows)
        fewest = shuffled[np.argsort(counts[shuffled], kind="stable")]
        training = rows[block]
        found[block] = fewest[np.argsort(np.argsort(~training, kind="stable"), kind="stable")]
        counts[found[block][training]] += 1
    return found.tolist()


@dataclass(frozen=True)
class Update:
    """The micro-batches of one generation batch on this rank, in the order of its accumulation steps."""

    parts: list[dict[str, Any]]
    idle: list[bool]
    """True for an accumulation step without work on any rank."""
    trained: list[int]
    """Per optimizer step: number of rows on all ranks that can change the weights."""
    batch: dict[str, Any]
    """All rows of this rank, in their new order."""
    left_out: list[int]
    """Rows of this rank that are in no micro-batch."""
    metrics: dict[str, float]

    def rows_trained(self, place: int) -> int:
        """Number of trained rows in the optimizer step of the accumulation step `place`."""
        return self.trained[place * len(self.trained) // len(self.parts)]


class MicroBatches:
    """Splits generation batches into the micro-batches of their optimizer steps. Collective.

    `args`: TRL's GRPOConfig. `reason`: why TRL's split is kept, or None. `silent`: a row with advantage 0 has no effect.
    """

    def __init__(self, args: Any, accelerator: Any, objective: Objective, *, reason: str | None, silent: bool):
        self.accelerator, self.objective, self.reason, self.silent = accelerator, objective, reason, silent
        self.seed, self.rows = args.seed, args.per_device_train_batch_size
        self.steps = args.gradient_accumulation_steps
        self.windows = args.steps_per_generation // args.gradient_accumulation_steps
        for part in loss_chain(objective.loss):
            part.sum_over_ranks(lambda sums: accelerator.reduce(sums, reduction="sum"))

    @classmethod
    def of(cls, run: Recipe, args: Any, accelerator: Any, objective: Objective, *, aux_loss: bool) -> MicroBatches:
        """Choose the split from properties of the loss. `aux_loss`: every row trains the router of a mixture of experts."""
        trl_loss = args.loss_type in TRL_LOSS_TYPES
        reason = why_not(run.micro_batching, objective.loss, trl_loss=trl_loss, aux_loss=aux_loss)
        silent = args.beta == 0 if trl_loss else silent_without_advantage(objective.loss)
        return cls(args, accelerator, objective, reason=reason, silent=silent and not aux_loss)

    def cut(self, batch: dict[str, Any], step: int) -> Update:
        """`step`: number of optimizer steps so far, of all stages."""
        batch = take(batch, torch.randperm(len(batch["row"])).tolist())
        signal, rows = self._signal(batch), batch.pop("row")
        shares, trained = self._shares(signal, rows, step)
        kept = self._kept(shares, trained, signal.tolist())
        parts, idle, metrics = (self._plan if self.reason is None else self._cut_as_trl)(batch, kept)
        left_out = sorted(set(range(len(rows))) - {row for share in kept for row in share})
        metrics = {"update/steps_without_rows": float(trained.count(0)), **metrics}
        return Update(parts, idle, trained, batch, left_out, metrics)

    def _shares(self, signal: Tensor, rows: Tensor, step: int) -> tuple[list[list[int]], list[int]]:
        """(this rank's rows of each update window, in order; number of trained rows of all ranks in each)."""
        everywhere = self.accelerator.gather(torch.stack([rows, signal.to(rows.dtype)], dim=1)).cpu()
        trains = torch.empty(len(everywhere), dtype=torch.bool)
        trains[everywhere[:, 0]] = everywhere[:, 1].bool()
        seed = sample_seed(self.seed, step, "", 0, salt="update windows")
        window = windows_of(trains.tolist(), self.windows, seed)
        pairs = list(zip(trains.tolist(), window, strict=True))
        trained = [sum(t for t, w in pairs if w == number) for number in range(self.windows)]
        mine = [window[row] for row in rows.tolist()]
        return [[i for i, w in enumerate(mine) if w == number] for number in range(self.windows)], trained

    def _kept(self, shares: list[list[int]], trained: list[int], signal: list[bool]) -> list[list[int]]:
        """This rank's rows of each update window that go through the model: with TRL's split all, unless none is trained."""
        if self.reason is None:
            return [[row for row in share if signal[row]] for share in shares]
        return [share if count else [] for share, count in zip(shares, trained, strict=True)]

    def _cut_as_trl(
        self, batch: dict[str, Any], kept: list[list[int]]
    ) -> tuple[list[dict[str, Any]], list[bool], dict[str, float]]:
        """Micro-batches of equal row counts; a window without trained rows has one row without loss."""
        spare = without_loss(batch)
        parts: list[dict[str, Any]] = []
        idle: list[bool] = []
        for share in kept:
            size = len(share) // self.steps
            cuts = [share[i * size : (i + 1) * size] for i in range(self.steps)]
            parts += [take(batch, part) for part in cuts] if share else [spare] * self.steps
            idle += [not share] * (self.steps - 1) + [False]
        return parts, idle, {}

    def _plan(
        self, batch: dict[str, Any], kept: list[list[int]]
    ) -> tuple[list[dict[str, Any]], list[bool], dict[str, float]]:
        completion, prompt = (batch[f"{part}_mask"].sum(1).tolist() for part in ("completion", "prompt"))
        width = batch["completion_ids"].shape[1] + batch["prompt_ids"].shape[1]
        cuts = []
        for share in kept:
            parts = cut([completion[r] for r in share], [prompt[r] for r in share], self.rows * width, self.steps)
            cuts.append([[share[i] for i in part] for part in parts])
        mine = torch.tensor([len(parts) for parts in cuts], device=self.accelerator.device)
        everywhere = self.accelerator.gather(mine).view(-1, len(cuts)).amax(0).clamp(min=1).tolist()
        spare = without_loss(batch)
        planned: list[dict[str, Any]] = []
        idle: list[bool] = []
        for parts, count in zip(cuts, everywhere, strict=True):
            planned += [spare] * (self.steps - len(parts)) + [take(batch, part) for part in parts]
            idle += [True] * (self.steps - count) + [False] * count
        tokens = sum(len(p) * (max(completion[r] for r in p) + max(prompt[r] for r in p)) for ps in cuts for p in ps)
        shares = tokens / (len(completion) * width), sum(map(len, kept)) / len(completion)
        return planned, idle, self._saved(*shares, sum(everywhere))

    def _signal(self, batch: dict[str, Any]) -> Tensor:
        """(n,) bool: the row can change the weights."""
        trained = batch["train_mask"].bool()
        if not self.silent or self.objective.loss_in_force().needs_live_entropy:
            return trained.any(1)
        advantage = batch["advantages"]
        return (trained & ((advantage if advantage.dim() == 2 else advantage.unsqueeze(1)) != 0)).any(1)

    def _saved(self, tokens: float, rows: float, micro_batches: int) -> dict[str, float]:
        """Metrics from the shares of this rank's padded tokens and rows that go through the model."""
        shares = torch.tensor([tokens, rows], dtype=torch.float64, device=self.accelerator.device).float()
        tokens, rows = self.accelerator.reduce(shares, reduction="mean").tolist()
        return {
            "update/tokens_saved": 1 - tokens,
            "update/rows_left_out": 1 - rows,
            "update/micro_batches": float(micro_batches),
        }
