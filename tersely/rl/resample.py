"""Groups that the filter refuses are replaced by fresh prompts, a bounded number of times.

Round r of step s takes prompts from an order that (run seed, s, r) alone decides, leaving out those that the batch had
already. A new rollout has the seed of its own prompt and sample index, so nothing depends on ranks or restarts. What is
still refused after the last round stays, and does not train.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from accelerate.utils import gather_object

from tersely.rl.engine import GenerationRequest
from tersely.rl.facts import RowFacts, rollouts_from_facts
from tersely.rl.rollout import RolloutRound
from tersely.rl.seeds import sample_seed


@dataclasses.dataclass
class Resampling:
    """What happened in one generation batch."""

    refused: list[RowFacts] = dataclasses.field(default_factory=list)
    """Rows of the groups that were replaced, over all ranks."""
    groups: int = 0
    rounds: int = 0

    def metrics(self) -> dict[str, float]:
        return {"groups/resampled": float(self.groups), "groups/resample_rounds": float(self.rounds)}


def resample(trainer: Any, prompt_ids: list[list[int]], rounds: int) -> Resampling:
    """Replace refused groups in `trainer._round` and in `prompt_ids`, both in place; verdicts go back to the grader."""
    done = Resampling()
    seen: set[str] = set()
    verdicts, seconds, _ = trainer.grader.result()
    for number in range(1, rounds + 1):
        facts = gathered_facts(trainer, verdicts)
        seen |= {fact.prompt_id for fact in facts}
        group = trainer.num_generations
        refused = (~trainer.objective.filter(_rollouts(trainer, facts))).nonzero().flatten().tolist()
        fresh = fresh_rows(trainer, seen, len(refused), number) if refused else []
        if not fresh:
            break
        refused = refused[: len(fresh)]
        done.refused += [facts[g * group + j] for g in refused for j in range(group)]
        done.groups, done.rounds = done.groups + len(fresh), number
        new, more = _replace(trainer, prompt_ids, dict(zip(refused, fresh, strict=True)))
        for place, verdict in new.items():
            verdicts[place] = verdict
        seconds += more
    trainer.grader.settle(verdicts, seconds)
    return done


def gathered_facts(trainer: Any, verdicts: list[Any]) -> list[RowFacts]:
    """The facts of the whole batch, in global order, on every rank."""
    return gather_object(trainer._round.facts(verdicts, trainer.parse_turn))


def _rollouts(trainer: Any, facts: list[RowFacts]) -> Any:
    return rollouts_from_facts(
        facts, trainer.num_generations, trainer.max_completion_length, trainer.progress, trainer.memory
    )


def fresh_rows(trainer: Any, seen: set[str], wanted: int, number: int) -> list[dict[str, Any]]:
    """Up to `wanted` rows of the training set whose prompts the batch has not had, the same on every rank."""
    data, step = trainer.train_dataset, trainer.first_step + trainer.state.global_step
    generator = torch.Generator().manual_seed(sample_seed(trainer.args.seed, step, "", number, salt="resample"))
    chosen: list[dict[str, Any]] = []
    for index in torch.randperm(len(data), generator=generator).tolist():
        if len(chosen) == wanted:
            break
        row = data[index]
        if row["prompt_id"] not in seen and all(row["prompt_id"] != other["prompt_id"] for other in chosen):
            chosen.append(row)
    return chosen


def _replace(
    trainer: Any, prompt_ids: list[list[int]], fresh: dict[int, dict[str, Any]]
) -> tuple[dict[int, Any], float]:
    """Generate and verify the rows of this rank that belong to the groups `fresh`: (verdict by local row, seconds)."""
    group, whole = trainer.num_generations, trainer._round
    first = trainer.accelerator.process_index * len(prompt_ids)
    plans = trainer.objective.plan(
        [row["prompt_id"] for row in fresh.values()], group, trainer.memory, trainer.args.seed
    )
    spots = [(g, j) for g in fresh for j in range(group)]
    mine = {g * group + j - first: (fresh[g], plan) for (g, j), plan in zip(spots, plans, strict=True)}
    mine = {place: pair for place, pair in mine.items() if 0 <= place < len(prompt_ids)}
    part = RolloutRound(
        [row for row, _ in mine.values()], [plan for _, plan in mine.values()], whole.tokenizer, whole.template
    )
    ids: list[list[int]] = []
    if mine:
        trainer._round = part
        try:
            ids = trainer._tokenize_prompts(part.messages())[0]
        finally:
            trainer._round = whole
    part.finish(_generations(trainer, part, ids, [(first + place) % group for place in mine]))
    trainer.grader.start([row["answer"] for row in part.rows], part.texts)
    verdicts, seconds, _ = trainer.grader.result()
    for i, place in enumerate(mine):
        prompt_ids[place] = ids[i]
        whole.rows[place], whole.plans[place] = part.rows[i], part.plans[i]
        whole.generations[place], whole.texts[place] = part.generations[i], part.texts[i]
    return dict(zip(mine, verdicts, strict=True)), seconds


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
