"""Resamples prompts whose groups were filtered out, a limited number of times.

Step s has an order of the prompts that the batch did not begin with, by (run seed, s) alone; round r gives the group at
place g the one at (r - 1) * P + g. A new rollout has the seed of its own prompt and sample index. So nothing depends on
ranks, on restarts, or on which group was ready first. Groups that are still filtered after the last round stay in the
batch and do not train.

An engine that takes requests while others run needs no rounds (`resample_streaming`): a group is verified when its own last
answer has arrived, and a filtered one is replaced at once, while longer answers are still being generated. The batch is the
same, whatever the order of arrival.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import gather_object

from tersely.core.seeds import sample_seed
from tersely.engines.base import Generation, GenerationRequest
from tersely.rl.rollouts.record import RolloutRecord, rollouts_from_records
from tersely.rl.rollouts.rollout import RolloutRound
from tersely.rl.rollouts.sampling_state import SamplingState


@dataclasses.dataclass
class Resampling:
    """What happened in one generation batch."""

    refused: list[RolloutRecord] = dataclasses.field(default_factory=list)
    """Rows of the groups that were replaced, over all ranks."""
    groups: int = 0
    rounds: int = 0

    def metrics(self) -> dict[str, float]:
        return {"groups/resampled": float(self.groups), "groups/resample_rounds": float(self.rounds)}


def draw_round(trainer: Any, prompt_ids: list[list[int]], requests: list[GenerationRequest]) -> Resampling:
    """Generate `requests` into `trainer._round`, replace refused groups where the recipe says so, begin to verify."""
    rounds = trainer.run_config.max_resample_rounds
    if rounds and can_stream(trainer, len(prompt_ids)):
        with trainer._timed("time/generate"):
            return resample_streaming(trainer, prompt_ids, requests, rounds)
    with trainer._timed("time/generate"):
        trainer._round.finish(trainer.draw(requests))
    trainer.grader.start(trainer._round.rows, trainer._round.texts)
    if not rounds:
        return Resampling()
    with trainer._timed("time/resample"):
        return resample(trainer, prompt_ids, rounds)


def resample(trainer: Any, prompt_ids: list[list[int]], rounds: int) -> Resampling:
    """Replace refused groups in `trainer._round` and in `prompt_ids`, both in place; verdicts go back to the grader."""
    done = Resampling()
    verdicts, seconds, _ = trainer.grader.result()
    group, fresh = trainer.num_generations, None
    for number in range(1, rounds + 1):
        facts = gathered_records(trainer, verdicts)
        fresh = fresh or FreshPrompts(trainer, {fact.prompt_id for fact in facts}, len(facts) // group)
        refused = (~trainer.objective.filter(rollouts_of(trainer, facts))).nonzero().flatten().tolist()
        rows = {g: row for g in refused if (row := fresh.at(number, g)) is not None}
        if not rows:
            break
        done.refused += [facts[g * group + j] for g in rows for j in range(group)]
        done.groups, done.rounds = done.groups + len(rows), number
        new, more = _replace(trainer, prompt_ids, rows)
        for place, verdict in new.items():
            verdicts[place] = verdict
        seconds += more
    trainer.grader.settle(verdicts, seconds)
    return done


class FreshPrompts:
    """The rows of the training set that come in place of refused groups, the same on every rank.

    seen: prompt ids that the batch of `places` groups began with.
    """

    def __init__(self, trainer: Any, seen: set[str], places: int):
        self.data, self.seen, self.places = trainer.train_dataset, seen, places
        step = trainer.first_step + trainer.state.global_step
        generator = torch.Generator().manual_seed(sample_seed(trainer.args.seed, step, "", 0, salt="resample"))
        self._order = iter(torch.randperm(len(self.data), generator=generator).tolist())
        self._rows: list[dict[str, Any]] = []

    def at(self, number: int, place: int) -> dict[str, Any] | None:
        """For the group at `place` in round `number` (1, 2, ...); None where the training set has run out."""
        index = (number - 1) * self.places + place
        while len(self._rows) <= index:
            row = next((r for i in self._order if (r := self.data[i])["prompt_id"] not in self.seen), None)
            if row is None:
                return None
            self.seen.add(row["prompt_id"])
            self._rows.append(row)
        return self._rows[index]


def gathered_records(trainer: Any, verdicts: list[Any]) -> list[RolloutRecord]:
    """The facts of the whole batch, in global order, on every rank."""
    return gather_object(trainer._round.facts(verdicts, trainer.parse_turn, trainer.grader.ended))


def rollouts_of(trainer: Any, facts: list[RolloutRecord]) -> Any:
    return rollouts_from_records(
        facts, trainer.num_generations, trainer.max_completion_length, trainer.progress, trainer.memory
    )


def _replace(
    trainer: Any, prompt_ids: list[list[int]], fresh: dict[int, dict[str, Any]]
) -> tuple[dict[int, Any], float]:
    """Generate and verify the rows of this rank that belong to the groups `fresh`: (verdict by local row, seconds)."""
    group, whole = trainer.num_generations, trainer._round
    first = trainer.accelerator.process_index * len(prompt_ids)
    plans = trainer.objective.prompting(
        [row["prompt_id"] for row in fresh.values()], group, trainer.memory, trainer.args.seed
    )
    spots = [(g, j) for g in fresh for j in range(group)]
    mine = {g * group + j - first: (fresh[g], plan) for (g, j), plan in zip(spots, plans, strict=True)}
    mine = {place: pair for place, pair in mine.items() if 0 <= place < len(prompt_ids)}
    part = RolloutRound(
        [row for row, _ in mine.values()], [plan for _, plan in mine.values()], whole.tokenizer, whole.template
    )
    ids = tokenized(trainer, part) if mine else []
    part.finish(_generations(trainer, part, ids, [(first + place) % group for place in mine]))
    trainer.grader.start(part.rows, part.texts)
    verdicts, seconds, _ = trainer.grader.result()
    for i, place in enumerate(mine):
        prompt_ids[place] = ids[i]
        whole.rows[place], whole.plans[place] = part.rows[i], part.plans[i]
        whole.generations[place], whole.texts[place] = part.generations[i], part.texts[i]
    return dict(zip(mine, verdicts, strict=True)), seconds


def tokenized(trainer: Any, part: RolloutRound) -> list[list[int]]:
    """Prompt ids of rows that are not the trainer's own round, prefills as there."""
    whole, trainer._round = trainer._round, part
    try:
        return trainer._tokenize_prompts(part.messages())[0]
    finally:
        trainer._round = whole


def _generations(trainer: Any, part: RolloutRound, ids: list[list[int]], samples: list[int]) -> list[Any]:
    """One generation a row. Generating is collective: a rank without rows draws one token and forgets it."""
    step, cap = trainer.first_step + trainer.state.global_step, trainer.max_completion_length
    requests = part.requests(
        ids, seed=trainer.args.seed, step=step, first_row=0, group_size=trainer.num_generations, cap=cap
    )
    requests = [
        dataclasses.replace(request, seed=sample_seed(trainer.args.seed, step, row["prompt_id"], sample))
        for request, row, sample in zip(requests, part.rows, samples, strict=True)
    ]
    drawn = trainer.draw(requests or [GenerationRequest((trainer._tokenizer.eos_token_id,), 0, 1)])
    return drawn[: len(requests)]


@dataclass
class _Group:
    """One group of this rank, in the round it has come to."""

    part: RolloutRound
    prompt_ids: list[list[int]]
    round: int = 0
    answers: dict[int, Generation] = field(default_factory=dict)
    verdicts: list[Any] = field(default_factory=list)


def can_stream(trainer: Any, rows: int) -> bool:
    """Does the engine take requests one by one, and does this rank have whole groups?"""
    whole = rows % trainer.num_generations == 0 and trainer.objective.filter.scope == "group"
    return whole and trainer.engine.capabilities.streaming


def resample_streaming(
    trainer: Any, prompt_ids: list[list[int]], requests: list[GenerationRequest], rounds: int
) -> Resampling:
    """Generate `requests`, replacing refused groups in `trainer._round` and `prompt_ids`; verdicts go to the grader."""
    return _Streaming(trainer, prompt_ids, rounds).run(requests)


class _Streaming:
    def __init__(self, trainer: Any, prompt_ids: list[list[int]], rounds: int):
        self.trainer, self.prompt_ids, self.rounds, self.size = trainer, prompt_ids, rounds, trainer.num_generations
        whole = trainer._round
        seen = set(gather_object([row["prompt_id"] for row in whole.rows]))
        groups = len(whole.rows) // self.size
        self.fresh = FreshPrompts(trainer, seen, groups * trainer.accelerator.num_processes)
        self.first = trainer.accelerator.process_index * groups
        self.groups = [
            _Group(RolloutRound(whole.rows[at], whole.plans[at], whole.tokenizer, whole.template), prompt_ids[at])
            for at in (slice(g * self.size, (g + 1) * self.size) for g in range(groups))
        ]
        self.refused: list[tuple[int, int, list[Any]]] = []
        self.seconds = 0.0

    def run(self, requests: list[GenerationRequest]) -> Resampling:
        trainer = self.trainer
        trainer.sampling_state = draw = SamplingState(trainer.objective.sampling)
        judging: dict[Future, int] = {}
        sampling = {"temperature": draw.temperature, "top_p": trainer.top_p, "top_k": trainer.top_k or 0}
        with trainer.engine.stream(**sampling) as stream:
            for row, request in enumerate(requests):
                stream.add((row // self.size, 0, row % self.size), request)
            while stream.pending or judging:
                if not stream.pending:
                    wait(judging, return_when=FIRST_COMPLETED)
                for (g, _, row), generation in stream.ready():
                    if (future := self._answered(g, row, generation)) is not None:
                        judging[future] = g
                        future.add_done_callback(lambda _: stream.wake())
                for future in [future for future in judging if future.done()]:
                    self._judged(judging.pop(future), future, stream)
        trainer.engine.used(stream)
        return self._settle()

    def _answered(self, g: int, row: int, generation: Generation) -> Future | None:
        """The verdicts to come, where this was the group's last answer."""
        group = self.groups[g]
        group.answers[row] = generation
        if len(group.answers) < self.size:
            return None
        group.part.finish([group.answers[i] for i in range(self.size)])
        return self.trainer.grader.submit(group.part.rows, group.part.texts)

    def _judged(self, g: int, future: Future, stream: Any) -> None:
        """Keep the group, or put the next prompt of its place in its stead."""
        trainer, group = self.trainer, self.groups[g]
        group.verdicts, seconds = future.result()
        self.seconds += seconds
        facts = group.part.facts(group.verdicts, trainer.parse_turn, trainer.grader.ended)
        if group.round >= self.rounds or bool(trainer.objective.filter(rollouts_of(trainer, facts))):
            return
        row = self.fresh.at(group.round + 1, self.first + g)
        if row is None:
            return
        self.refused.append((group.round, self.first + g, facts))
        plans = trainer.objective.prompting([row["prompt_id"]], self.size, trainer.memory, trainer.args.seed)
        part = RolloutRound([row] * self.size, plans, group.part.tokenizer, group.part.template)
        self.groups[g] = new = _Group(part, tokenized(trainer, part), group.round + 1)
        requests = part.requests(
            new.prompt_ids,
            seed=trainer.args.seed,
            step=trainer.first_step + trainer.state.global_step,
            first_row=0,
            group_size=self.size,
            cap=trainer.max_completion_length,
        )
        for i, request in enumerate(requests):
            stream.add((g, new.round, i), request)

    def _settle(self) -> Resampling:
        """Everything into the trainer's round, and what was refused on any rank."""
        trainer, whole = self.trainer, self.trainer._round
        parts = [group.part for group in self.groups]
        whole.rows[:] = [row for part in parts for row in part.rows]
        whole.plans[:] = [plan for part in parts for plan in part.plans]
        whole.generations = [generation for part in parts for generation in part.generations]
        whole.texts = [text for part in parts for text in part.texts]
        self.prompt_ids[:] = [ids for group in self.groups for ids in group.prompt_ids]
        trainer.grader.settle([verdict for group in self.groups for verdict in group.verdicts], self.seconds)
        refused = sorted(gather_object(self.refused), key=lambda one: one[:2])
        rounds = max((number + 1 for number, _, _ in refused), default=0)
        return Resampling([fact for _, _, facts in refused for fact in facts], len(refused), rounds)
