"""Generates more groups than the batch has, as many as should pass the filter, and keeps those that do.

The groups of the batch and the ones beyond it are generated in one call. Filtered groups are then replaced, in order, by later
ones that passed the filter. The new prompts depend only on (run seed, step), as in `resample.py`, so the batch does not depend
on ranks or restarts. Filtered groups that are left stay in the batch and are not trained on, or are resampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accelerate.utils import gather_object

from tersely.algorithms.oversampling import WINDOW, oversampling_factor
from tersely.rl.rollouts.maker import Moment, Resampling, RolloutMaker
from tersely.rl.rollouts.resample import FreshPrompts
from tersely.rl.rollouts.rollout import RolloutRound
from tersely.rl.rollouts.sampling_state import SamplingState
from tersely.rl.rollouts.trim import Trimmed, trimmed


@dataclass
class Oversampling:
    """Predicts the number of groups from the shares that the filter kept; saved with a checkpoint, equal on every rank."""

    most: float
    """Largest number of groups per group of the batch; 1 disables oversampling."""
    shares: list[float] = field(default_factory=list)

    @property
    def on(self) -> bool:
        return self.most > 1

    def groups(self, planned: int) -> int:
        """Groups to generate for a batch of `planned` groups."""
        return int(planned * oversampling_factor(self.shares, self.most) + 1e-9)

    def observe(self, share: float) -> None:
        self.shares = [*self.shares, share][-WINDOW:]

    def state_dict(self) -> dict[str, Any]:
        return {"shares": list(self.shares)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.shares = list(state.get("shares") or [])


def oversample(
    maker: RolloutMaker,
    batch: RolloutRound,
    moment: Moment,
    sampling_state: SamplingState,
    oversampling: Oversampling,
) -> Resampling:
    """Generate `batch` and the groups beyond it, and replace filtered ones in place; verdicts go to the grader. Collective."""
    size, count, rank = maker.shape.group_size, len(batch.rows), maker.shape.rank
    planned = count * maker.shape.ranks // size
    part, first = _beyond(maker, batch, moment, oversampling.groups(planned) - planned)
    both = batch.part(batch.rows + part.rows, batch.plans + part.plans)
    both.prompt_ids = batch.prompt_ids + part.prompt_ids
    requests = maker.requests(batch, moment, rank * count) + maker.requests(part, moment, first)
    generations = maker.generate(both, requests, sampling_state)
    batch.finish(generations[:count])
    part.finish(generations[count:])
    maker.grader.start(both.rows, batch.texts + part.texts)
    verdicts, seconds, _ = maker.grader.result()
    halves = ((batch, verdicts[:count]), (part, verdicts[count:]))
    made = [trimmed(maker, one, maker.gathered_records(one, its), moment) for one, its in halves]
    whole = Trimmed.of_all(made)
    keep = maker.objective.filter(maker.rollouts(whole.records, moment, whole.fields({}))).tolist()
    oversampling.observe(sum(keep) / len(keep))
    places = [g for g in range(planned) if not keep[g]]
    useful = [g for g in range(planned, len(keep)) if keep[g]]
    replaced = dict(zip(places, useful, strict=False))
    unused = set(range(planned, len(keep))) - set(replaced.values())
    dropped = sorted({*replaced, *(g for g in unused if not keep[g])})
    surplus = sorted(unused - set(dropped))
    _move(maker, batch, part, verdicts, {new - planned: old for old, new in replaced.items()}, first)
    maker.grader.settle(verdicts[:count], seconds)

    def records(groups: Sequence[int]) -> list[Any]:
        return [whole.sampled[g * size + j] for g in groups for j in range(size)]

    return Resampling(records(dropped), len(replaced), surplus=records(surplus), beyond=len(keep) - planned)


def _beyond(maker: RolloutMaker, batch: RolloutRound, moment: Moment, groups: int) -> tuple[RolloutRound, int]:
    """This rank's share of the rows of `groups` groups with new prompts, and the number of its first one. Collective."""
    size, rank, ranks = maker.shape.group_size, maker.shape.rank, maker.shape.ranks
    fresh = FreshPrompts(maker, moment, set(gather_object([row["prompt_id"] for row in batch.rows])), groups)
    rows = [row for g in range(groups) if (row := fresh.at(1, g)) is not None]
    plans = maker.plans([row["prompt_id"] for row in rows], moment) if rows else []
    first, end = rank * len(plans) // ranks, (rank + 1) * len(plans) // ranks
    part = batch.part([dict(rows[i // size]) for i in range(first, end)], plans[first:end])
    part.tokenize()
    return part, first


def _move(
    maker: RolloutMaker, batch: RolloutRound, part: RolloutRound, verdicts: list[Any], to: dict[int, int], first: int
) -> None:
    """Put group `g` of all parts in the place `to[g]` of the batch, on the rank that has it. Collective.

    verdicts: of the batch's rows and then the part's, changed in place; first: number of the part's first row.
    """
    size, count = maker.shape.group_size, len(batch.rows)
    mine = [
        (to[row // size] * size + row % size, part.row(i), verdicts[count + i])
        for i, row in enumerate(range(first, first + len(part.rows)))
        if row // size in to
    ]
    for place, values, verdict in gather_object(mine):
        at = place - maker.shape.rank * count
        if 0 <= at < count:
            batch.put(at, values)
            verdicts[at] = verdict
