"""Replaces filtered groups while others are still being generated, with a streaming engine.

A group is verified when its last answer has arrived, and a filtered one is replaced at once. The batch equals the one from
rounds (`resample.py`), for any order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, cast

from accelerate.utils import gather_object

from tersely.engines.base import Generation, GenerationRequest
from tersely.engines.phases import Row, Script, send
from tersely.rl.rollouts.maker import Moment, Resampling, RolloutMaker
from tersely.rl.rollouts.phased import script
from tersely.rl.rollouts.record import RolloutRecord
from tersely.rl.rollouts.resample import FreshPrompts
from tersely.rl.rollouts.rollout import PER_ROW, RolloutRound
from tersely.rl.rollouts.sampling_state import SamplingState
from tersely.rl.rollouts.trim import cut_rows, kept_tokens, trims


def can_stream(maker: RolloutMaker, rows: int) -> bool:
    """True if the engine supports streaming, this rank has whole groups, and the rows do not wait for a shared trace."""
    whole = rows % maker.shape.group_size == 0 and maker.objective.filter.scope == "group"
    return whole and maker.engine.capabilities.streaming and not maker.makes_exits


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
    rows: list[Row] = field(default_factory=list)
    scripts: dict[int, Script] = field(default_factory=dict)
    """The scripts of the rows that are not complete."""
    verdicts: list[Any] = field(default_factory=list)
    records: list[RolloutRecord] = field(default_factory=list)
    """As sampled."""
    cut: tuple[RolloutRound, list[int]] | None = None
    """The rows that are verified again, and their numbers."""


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
            for g in range(len(self.groups)):
                self._begin(g, requests[g * self.size : (g + 1) * self.size], stream)
            while stream.pending or judging:
                if not stream.pending:
                    wait(judging, return_when=FIRST_COMPLETED)
                for key, generation in stream.ready():
                    g, _, row = cast(tuple[int, int, int], key)
                    if (future := self._answered(g, row, generation, stream)) is not None:
                        judging[future] = g
                        future.add_done_callback(lambda _: stream.wake())
                for future in [future for future in judging if future.done()]:
                    g = judging.pop(future)
                    if (again := self._judged(g, future, stream)) is not None:
                        judging[again] = g
                        again.add_done_callback(lambda _: stream.wake())
        maker.engine.used(stream)
        return self._settle()

    def _begin(self, g: int, requests: Sequence[GenerationRequest], stream: Any) -> None:
        """Send the first request of every row of a group."""
        group = self.groups[g]
        group.rows = [Row(request.prompt_ids) for request in requests]
        for i, (row, request) in enumerate(zip(group.rows, requests, strict=True)):
            group.scripts[i] = script(row, request, group.part.plans[i], group.part)
            stream.add((g, group.round, i), next(group.scripts[i]))

    def _answered(self, g: int, row: int, generation: Generation, stream: Any) -> Future | None:
        """Send the row's next request, if it has one. Future of the verdicts, if this was the group's last answer."""
        group = self.groups[g]
        if (following := send(group.scripts[row], generation)) is not None:
            stream.add((g, group.round, row), following)
            return None
        del group.scripts[row]
        if group.scripts:
            return None
        group.part.finish([row.generation() for row in group.rows])
        return self.maker.grader.submit(group.part.rows, group.part.texts)

    def _judged(self, g: int, future: Future, stream: Any) -> Future | None:
        """Keep the group, or replace it by the next prompt for its position. Future of the verdicts of rows that are cut."""
        maker, group = self.maker, self.groups[g]
        verdicts, seconds = future.result()
        self.seconds += seconds
        if group.cut is None:
            group.verdicts = verdicts
            group.records = records = maker.records(group.part, verdicts)
            if trims(maker) and group.round < self.rounds:
                group.cut = cut_rows(group.part, kept_tokens(maker, maker.rollouts(records, self.moment)))
                if group.cut[1]:
                    return maker.grader.submit(group.cut[0].rows, group.cut[0].texts)
        else:
            new = dict(zip(group.cut[1], maker.records(group.cut[0], verdicts), strict=True))
            records = [new.get(i, record) for i, record in enumerate(group.records)]
        kept = group.round >= self.rounds or bool(maker.objective.filter(maker.rollouts(records, self.moment)))
        row = None if kept else self.fresh.at(group.round + 1, self.first + g)
        if row is None:
            return None
        self.filtered.append((group.round, self.first + g, group.records))
        part = self.batch.part([row] * self.size, maker.plans([row["prompt_id"]], self.moment))
        part.tokenize()
        self.groups[g] = _Group(part, group.round + 1)
        self._begin(g, maker.requests(part, self.moment), stream)
        return None

    def _settle(self) -> Resampling:
        """Store all groups in the batch; returns the filtered ones of all ranks."""
        parts = [group.part for group in self.groups]
        for name in PER_ROW:
            setattr(self.batch, name, [value for part in parts for value in getattr(part, name)])
        self.maker.grader.settle([verdict for group in self.groups for verdict in group.verdicts], self.seconds)
        filtered = sorted(gather_object(self.filtered), key=lambda one: one[:2])
        rounds = max((number + 1 for number, _, _ in filtered), default=0)
        return Resampling([record for _, _, records in filtered for record in records], len(filtered), rounds)
