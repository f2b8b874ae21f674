"""Replaces filtered groups while others are still being generated, with a streaming engine.

A group is verified when its last answer has arrived, and a filtered one is replaced at once. The batch equals the one from
rounds (`resample.py`), for any order of arrival.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, cast

from accelerate.utils import gather_object

from tersely.engines.base import Generation
from tersely.rl.rollouts.maker import Moment, Resampling, RolloutMaker
from tersely.rl.rollouts.resample import FreshPrompts
from tersely.rl.rollouts.rollout import RolloutRound
from tersely.rl.rollouts.sampling_state import SamplingState


def can_stream(maker: RolloutMaker, rows: int) -> bool:
    """True if the engine supports streaming and this rank has whole groups."""
    whole = rows % maker.shape.group_size == 0 and maker.objective.filter.scope == "group"
    return whole and maker.engine.capabilities.streaming


def resample_streaming(
    maker: RolloutMaker, batch: RolloutRound, moment: Moment, sampling_state: SamplingState, rounds: int
) -> Resampling:
    """Generate `batch`, replacing filtered groups in place; verdicts go to the grader. Collective."""
    return _Streaming(maker, batch, moment, rounds).run(sampling_state)


@dataclass
class _Group:
    """One group of this rank, with its current round."""

    part: RolloutRound
    round: int = 0
    answers: dict[int, Generation] = field(default_factory=dict)
    verdicts: list[Any] = field(default_factory=list)


class _Streaming:
    def __init__(self, maker: RolloutMaker, batch: RolloutRound, moment: Moment, rounds: int):
        self.maker, self.batch, self.moment, self.rounds = maker, batch, moment, rounds
        self.size = maker.shape.group_size
        seen = set(gather_object([row["prompt_id"] for row in batch.rows]))
        groups = len(batch.rows) // self.size
        self.fresh = FreshPrompts(maker, moment, seen, groups * maker.shape.ranks)
        self.first = maker.shape.rank * groups
        self.groups = []
        for at in (slice(g * self.size, (g + 1) * self.size) for g in range(groups)):
            part = batch.part(batch.rows[at], batch.plans[at])
            part.prompt_ids = batch.prompt_ids[at]
            self.groups.append(_Group(part))
        self.filtered: list[tuple[int, int, list[Any]]] = []
        self.seconds = 0.0

    def run(self, sampling_state: SamplingState) -> Resampling:
        maker = self.maker
        requests = maker.requests(self.batch, self.moment, maker.shape.rank * len(self.batch.rows))
        judging: dict[Future, int] = {}
        with maker.engine.stream(**maker.sampling(sampling_state)) as stream:
            for row, request in enumerate(requests):
                stream.add((row // self.size, 0, row % self.size), request)
            while stream.pending or judging:
                if not stream.pending:
                    wait(judging, return_when=FIRST_COMPLETED)
                for key, generation in stream.ready():
                    g, _, row = cast(tuple[int, int, int], key)
                    if (future := self._answered(g, row, generation)) is not None:
                        judging[future] = g
                        future.add_done_callback(lambda _: stream.wake())
                for future in [future for future in judging if future.done()]:
                    self._judged(judging.pop(future), future, stream)
        maker.engine.used(stream)
        return self._settle()

    def _answered(self, g: int, row: int, generation: Generation) -> Future | None:
        """Future of the verdicts, if this was the group's last answer."""
        group = self.groups[g]
        group.answers[row] = generation
        if len(group.answers) < self.size:
            return None
        group.part.finish([group.answers[i] for i in range(self.size)])
        return self.maker.grader.submit(group.part.rows, group.part.texts)

    def _judged(self, g: int, future: Future, stream: Any) -> None:
        """Keep the group, or replace it by the next prompt for its position."""
        maker, group = self.maker, self.groups[g]
        group.verdicts, seconds = future.result()
        self.seconds += seconds
        records = maker.records(group.part, group.verdicts)
        kept = group.round >= self.rounds or bool(maker.objective.filter(maker.rollouts(records, self.moment)))
        row = None if kept else self.fresh.at(group.round + 1, self.first + g)
        if row is None:
            return
        self.filtered.append((group.round, self.first + g, records))
        part = self.batch.part([row] * self.size, maker.plans([row["prompt_id"]]))
        part.tokenize()
        self.groups[g] = new = _Group(part, group.round + 1)
        for i, request in enumerate(maker.requests(part, self.moment)):
            stream.add((g, new.round, i), request)

    def _settle(self) -> Resampling:
        """Store all groups in the batch; returns the filtered ones of all ranks."""
        parts = [group.part for group in self.groups]
        for name in ("rows", "plans", "prompt_ids", "generations", "texts"):
            setattr(self.batch, name, [value for part in parts for value in getattr(part, name)])
        self.maker.grader.settle([verdict for group in self.groups for verdict in group.verdicts], self.seconds)
        filtered = sorted(gather_object(self.filtered), key=lambda one: one[:2])
        rounds = max((number + 1 for number, _, _ in filtered), default=0)
        return Resampling([record for _, _, records in filtered for record in records], len(filtered), rounds)
