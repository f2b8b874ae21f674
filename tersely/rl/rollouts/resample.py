"""Resamples prompts whose groups were filtered out, a limited number of times.

Step s has an order of the prompts that are not in the batch, which depends only on (run seed, s); in round r the group at
position g gets prompt (r - 1) * P + g. A new rollout has the seed of its prompt and sample index. So the result does not
depend on ranks, restarts, or the order in which groups finish. Groups that are still filtered after the last round stay in
the batch and are not trained on.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from tersely.core.seeds import sample_seed
from tersely.engines.base import Generation
from tersely.rl.rollouts.maker import Moment, Resampling, RolloutMaker
from tersely.rl.rollouts.rollout import RolloutRound, sample_of
from tersely.rl.rollouts.sampling_state import SamplingState
from tersely.rl.rollouts.trim import trimmed


def resample(
    maker: RolloutMaker,
    batch: RolloutRound,
    moment: Moment,
    sampling_state: SamplingState,
    rounds: int,
    done: Resampling | None = None,
) -> Resampling:
    """Replace filtered groups in `batch`, in place; its verdicts go back to the grader. Collective.

    done: what `oversample` has replaced; it is continued.
    """
    done = done or Resampling()
    verdicts, seconds, _ = maker.grader.result()
    group, fresh = maker.shape.group_size, None
    for number in range(1, rounds + 1):
        records = maker.gathered_records(batch, verdicts)
        seen = {record.prompt_id for record in records + done.records}
        fresh = fresh or FreshPrompts(maker, moment, seen, len(records) // group)
        scored = trimmed(maker, batch, records, moment)
        rollouts = maker.rollouts(scored.records, moment, scored.fields({}))
        filtered = (~maker.objective.filter(rollouts)).nonzero().flatten().tolist()
        rows = {g: row for g in filtered if (row := fresh.at(number, g)) is not None}
        if not rows:
            break
        done.filtered += [records[g * group + j] for g in rows for j in range(group)]
        done.groups, done.rounds = done.groups + len(rows), number
        new, more = _replace(maker, batch, moment, sampling_state, rows)
        for place, verdict in new.items():
            verdicts[place] = verdict
        seconds += more
    maker.grader.settle(verdicts, seconds)
    return done


class FreshPrompts:
    """Training rows that replace filtered groups, the same on every rank.

    seen: initial prompt ids of the batch of `places` groups.
    """

    def __init__(self, maker: RolloutMaker, moment: Moment, seen: set[str], places: int):
        self.data, self.seen, self.places = maker.dataset, seen, places
        seed = sample_seed(maker.shape.seed, moment.step, "", 0, salt="resample")
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(seed))
        self._order = iter(order.tolist())
        self._rows: list[dict[str, Any]] = []

    def at(self, number: int, place: int) -> dict[str, Any] | None:
        """Row for the group at `place` in round `number` (1, 2, ...); None if the training set is exhausted."""
        index = (number - 1) * self.places + place
        while len(self._rows) <= index:
            row = next((r for i in self._order if (r := self.data[i])["prompt_id"] not in self.seen), None)
            if row is None:
                return None
            self.seen.add(row["prompt_id"])
            self._rows.append(row)
        return self._rows[index]


def _replace(
    maker: RolloutMaker,
    batch: RolloutRound,
    moment: Moment,
    sampling_state: SamplingState,
    fresh: dict[int, dict[str, Any]],
) -> tuple[dict[int, Any], float]:
    """Generate and verify the rows of this rank that belong to the groups `fresh`: (verdict by local row, seconds)."""
    group, count = maker.shape.group_size, len(batch.rows)
    first = maker.shape.rank * count
    plans = maker.plans([row["prompt_id"] for row in fresh.values()], moment)
    spots = [(g, j) for g in fresh for j in range(group)]
    mine = {g * group + j - first: (fresh[g], plan) for (g, j), plan in zip(spots, plans, strict=True)}
    mine = {place: pair for place, pair in mine.items() if 0 <= place < count}
    part = batch.part([row for row, _ in mine.values()], [plan for _, plan in mine.values()])
    part.tokenize()
    part.finish(_generations(maker, part, moment, sampling_state, [(first + place) % group for place in mine]))
    maker.grader.start(part.rows, part.texts)
    verdicts, seconds, _ = maker.grader.result()
    for i, place in enumerate(mine):
        batch.put(place, part.row(i))
    return dict(zip(mine, verdicts, strict=True)), seconds


def _generations(
    maker: RolloutMaker, part: RolloutRound, moment: Moment, sampling_state: SamplingState, samples: list[int]
) -> list[Generation]:
    """One generation per row. Collective."""
    requests = [
        dataclasses.replace(
            request, seed=sample_seed(maker.shape.seed, moment.step, row["prompt_id"], sample_of(plan, sample))
        )
        for request, row, plan, sample in zip(maker.requests(part, moment), part.rows, part.plans, samples, strict=True)
    ]
    return maker.generate(part, requests, sampling_state)
