"""The same replacement of refused groups, on an engine that takes requests while others run: nobody waits for a round.

A group is verified when its own last answer has come, and a refused one is replaced at once, while longer answers are
still being written. Which prompt comes in its place, and with which seeds, is decided by the group's place and its
round alone, so that the batch is the one that `resample` would have made, whatever came back first.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from accelerate.utils import gather_object

from tersely.rl.drawing import Drawing
from tersely.rl.engine import Generation, GenerationRequest
from tersely.rl.resample import FreshPrompts, Resampling, rollouts_of, tokenized
from tersely.rl.rollout import RolloutRound


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
    whole = rows % trainer.num_generations == 0 and getattr(trainer.objective.filter, "scope", "group") == "group"
    return whole and hasattr(trainer.engine, "stream")


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
        trainer.drawing = draw = Drawing(trainer.objective.sampling)
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
        plans = trainer.objective.plan([row["prompt_id"]], self.size, trainer.memory, trainer.args.seed)
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
