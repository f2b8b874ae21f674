"""Cuts rows that the `trim` slot shortens, and verifies them again on their shortened text.

    verify -> gather -> trim -> verify the cut rows -> gather -> filter -> reward -> advantage

Logs, memory and controllers see the rows as sampled. A causal model's values before the cut do not change, so log-probs of the
full rows are kept and masked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from tersely.algorithms.objective import Objective
from tersely.algorithms.trims.none import NoTrim
from tersely.core.types import Rollouts
from tersely.engines.base import Generation
from tersely.rl.reflections import reflection_count
from tersely.rl.rollouts.maker import Moment, RolloutMaker
from tersely.rl.rollouts.record import RolloutRecord
from tersely.rl.rollouts.rollout import RolloutRound
from tersely.rl.rollouts.token_fields import FILL


@dataclasses.dataclass(frozen=True)
class Trimmed:
    """The records of a batch as they are scored. Without a trim they are those of the sampled rows."""

    sampled: list[RolloutRecord]
    records: list[RolloutRecord]
    positions: list[int | None]
    """Per row: positions that are kept, or None if the row is not cut."""
    acts: bool = True
    """False: the objective has no trim."""

    @classmethod
    def of_all(cls, parts: Sequence[Trimmed]) -> Trimmed:
        """One batch of all parts, in order."""
        joined = {
            name: [one for part in parts for one in getattr(part, name)] for name in ("sampled", "records", "positions")
        }
        return cls(**joined, acts=any(part.acts for part in parts))

    @property
    def cut(self) -> Tensor | None:
        """(N,) bool; None if no row was cut."""
        rows = torch.tensor([place is not None for place in self.positions])
        return rows if bool(rows.any()) else None

    @property
    def correct(self) -> Tensor:
        """(N,) float32 verdicts of the rows as sampled."""
        return torch.tensor([record.correct for record in self.sampled], dtype=torch.float32)

    def fields(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Optional fields of `Rollouts` of the whole batch, without what follows the cuts, and `cut`."""
        if (cut := self.cut) is None:
            return dict(fields)
        kept = self._kept(range(len(self.positions)))
        found: dict[str, Tensor] = {"cut": cut}
        for name, values in fields.items():
            if name in FILL or name == "forced":
                after = torch.arange(values.shape[1]) >= kept.unsqueeze(1)
                found[name] = values.masked_fill(after, FILL.get(name, False))
            elif name in ("thinking_end", "answer_start"):
                found[name] = torch.minimum(values, kept)
            elif name == "reflections":
                counts = [reflection_count(record.text) for record in self.records]
                found[name] = torch.where(cut, torch.tensor(counts), values)
            else:
                found[name] = values
        return found

    def tensors(self, batch: Mapping[str, Tensor], rank: int, pad: int) -> dict[str, Tensor]:
        """The tensors of this rank with padding after the cuts."""
        mask = batch["completion_mask"]
        kept = self._kept(range(rank * len(mask), (rank + 1) * len(mask))).to(mask.device)
        after = torch.arange(mask.shape[1], device=mask.device) >= kept.unsqueeze(1)
        fills = {"completion_ids": pad, "completion_mask": 0, "trainable": False}
        cut = {name: batch[name].masked_fill(after, fill) for name, fill in fills.items() if name in batch}
        return {**batch, **cut}

    def logged(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of the completions table with the full text, the cut and its verdict. Without a trim: unchanged."""
        if not self.acts:
            return rows
        return [
            {
                **row,
                "text": record.text,
                "cut_at": None if at is None else row["length"],
                "correct_sampled": record.correct,
            }
            for row, record, at in zip(rows, self.sampled, self.positions, strict=True)
        ]

    def metrics(self) -> dict[str, float]:
        """Share of rows that are cut; mean tokens cut per cut row, and share of these that became incorrect."""
        pairs = [
            (old, new)
            for old, new, at in zip(self.sampled, self.records, self.positions, strict=True)
            if at is not None
        ]
        found = {"trim/rows": len(pairs) / max(len(self.sampled), 1)}
        if pairs:
            found["trim/tokens"] = sum(old.length - new.length for old, new in pairs) / len(pairs)
            found["trim/broken"] = sum(old.correct == 1 and new.correct == 0 for old, new in pairs) / len(pairs)
        return found

    def _kept(self, rows: range) -> Tensor:
        longest = torch.iinfo(torch.int64).max
        return torch.tensor([longest if (at := self.positions[row]) is None else at for row in rows])


def trims(maker: RolloutMaker) -> bool:
    """True if the objective has a trim."""
    return not isinstance(maker.objective.trim, NoTrim)


def trimmed(maker: RolloutMaker, batch: RolloutRound, records: list[RolloutRecord], moment: Moment) -> Trimmed:
    """Trim the gathered `records` of a batch, of which `batch` has this rank's rows. Collective if a row is cut."""
    keep = kept_tokens(maker, maker.rollouts(records, moment)) if trims(maker) else []
    if all(one == record.length for one, record in zip(keep, records, strict=False)):
        return Trimmed(records, records, [None] * len(records), trims(maker))
    counts = gather_object([len(batch.rows)])
    first, count = sum(counts[: maker.shape.rank]), len(batch.rows)
    part, places = cut_rows(batch, keep[first : first + count])
    verdicts = maker.grader.submit(part.rows, part.texts).result()[0] if places else []
    mine: list[tuple[RolloutRecord, int | None]] = [(record, None) for record in records[first : first + count]]
    sizes = [len(ids) for ids in part.completion_ids]
    for place, record, size in zip(places, maker.records(part, verdicts), sizes, strict=True):
        mine[place] = (record, size)
    everything = gather_object(mine)
    return Trimmed(records, [record for record, _ in everything], [size for _, size in everything])


def kept_tokens(maker: RolloutMaker, rollouts: Rollouts) -> list[int]:
    """Sampled tokens that each row keeps."""
    keep: Tensor = maker.objective.trim(rollouts)
    return torch.minimum(keep, rollouts.length).tolist()


def cut_rows(batch: RolloutRound, keep: Sequence[int]) -> tuple[RolloutRound, list[int]]:
    """The rows that keep fewer tokens than they have, with only these, and their numbers."""
    places = [i for i, g in enumerate(batch.generations) if keep[i] < len(g.sampled_ids)]
    part = batch.part([batch.rows[i] for i in places], [batch.plans[i] for i in places])
    part.prompt_ids = [batch.prompt_ids[i] for i in places]
    part.finish([beginning(batch.generations[i], keep[i]) for i in places])
    return part, places


def beginning(generation: Generation, keep: int) -> Generation:
    """The generation up to its `keep`-th sampled token, with the forced tokens before it. It did not reach the cap."""
    forced = generation.forced or [False] * len(generation.token_ids)
    sampled = [at for at, one in enumerate(forced) if not one]
    end = sampled[keep - 1] + 1 if keep else 0
    cut: dict[str, Any] = {name: getattr(generation, name)[:end] for name in ("token_ids", "forced")}
    logprobs = None if generation.logprobs is None else generation.logprobs[:end]
    return dataclasses.replace(generation, **cut, logprobs=logprobs, finish="stop")


def step_measurements(
    objective: Objective, sampled: Rollouts, scored: Rollouts, trim: Trimmed, masked: Tensor | None, moment: Moment
) -> dict[str, float]:
    """Metrics that the components of a batch report, and those of trim and mask."""
    found = {**objective.prompting.measured(moment.stage_step), **objective.reward.measured(scored)}
    if trim.acts:
        found |= {**objective.trim.measured(sampled), **trim.metrics()}
    if masked is not None:
        found["rollout/masked"] = masked.double().mean().item()
    return found
