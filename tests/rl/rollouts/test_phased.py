"""A thinking budget in training rollouts: what is written where, what counts, and what trains."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from support.tiny import watched

from tersely.configs.recipe import Recipe
from tersely.configs.thinking_budget import ThinkingBudget
from tersely.core.errors import ConfigError
from tersely.core.parse_completion import parse_completion
from tersely.core.present_tokens import present_tokens, sampled_tokens
from tersely.core.protocols import Prompting
from tersely.core.types import RolloutPlan
from tersely.engines.base import Generation
from tersely.rl.rollouts.phased import generate_rows, with_budget
from tersely.rl.rollouts.rollout import RolloutRound, Template
from tersely.rl.rollouts.token_fields import thinking_bounds

CAP = 40
FORCED = "\n</think>\n"


@pytest.fixture
def make_round(tokenizer):
    def make(*plans, template=None):
        rows = [
            {"prompt": [{"role": "user", "content": f"{i}+1="}], "prompt_id": f"p{i}", "problem": "1+1=", "answer": "2"}
            for i in range(len(plans))
        ]
        batch = RolloutRound(rows, list(plans), tokenizer, template or Template.of(tokenizer))
        batch.tokenize()
        return batch

    return make


def decode(batch, generate, cap=CAP):
    requests = batch.requests(seed=0, step=0, first_row=0, group_size=len(batch.rows), cap=cap)
    batch.finish(generate_rows(batch, requests, generate))
    return requests


def records(batch):
    verdict = SimpleNamespace(correct=1.0, status="correct", answer="2")
    return batch.records([verdict] * len(batch.rows), parse_completion)


def scripted(*pieces):
    """Answers a request by the sampled tokens before it: (start, ids, finish)."""
    known = {start: Generation(tuple(ids), (-0.5,) * len(ids), finish) for start, ids, finish in pieces}
    return lambda asked: [known[request.start] for request in asked]


def budget_plan(tokens, **more):
    return with_budget(RolloutPlan(), ThinkingBudget(tokens, text=FORCED, **more), 0.0)


def test_the_row_of_the_card(make_round, tokenizer):
    batch = make_round(budget_plan(4))
    text = tokenizer.encode(FORCED, add_special_tokens=False)
    assert len(text) == 3
    eos = tokenizer.eos_token_id
    decode(batch, scripted((0, (11, 12, 13, 14), "length"), (4, (21, 22, eos), "eos")))
    (record,) = records(batch)
    assert batch.completion_ids == [[11, 12, 13, 14, *text, 21, 22, eos]]
    assert (record.length, record.thinking_length, record.forced_tokens, record.truncated) == (7, 4, 3, False)
    assert record.forced_end and "</think>" in record.text
    assert thinking_bounds(batch).tolist() == [[4, 7]]
    masks = batch.forced_masks(None)
    assert masks["forced"].nonzero()[:, 1].tolist() == [4, 5, 6]
    assert masks["trainable"].nonzero()[:, 1].tolist() == [0, 1, 2, 3, 7, 8, 9]
    logprobs = batch.sampler_logprobs()[0]
    assert [math.isnan(value) for value in logprobs] == batch.written[0]


@pytest.mark.parametrize("budget", [8, 20, CAP - 1])
def test_a_row_that_ends_its_thinking_within_the_budget_is_the_plain_row(make_round, engine, budget):
    """The same tokens on transformers, whether a budget is set and never reached, or not set."""
    count = 96
    plain, limited = make_round(*[RolloutPlan()] * count), make_round(*[budget_plan(budget)] * count)
    decode(plain, engine.generate)
    decode(limited, engine.generate)
    end = plain.template.end_of_thinking
    pairs = zip(plain.generations, limited.generations, records(limited), strict=True)
    kinds = {True: 0, False: 0}
    for one, other, record in pairs:
        thought = one.token_ids.index(end[0]) if end[0] in one.token_ids else len(one.token_ids)
        early = thought < budget or (one.finish == "eos" and len(one.token_ids) <= budget)
        kinds[early] += 1
        assert record.forced_end is not early
        if early:
            assert one == other
        else:
            assert one.token_ids[:budget] == other.token_ids[:budget] and other.forced[budget]
            assert record.thinking_length == budget and record.length <= CAP
    assert all(kinds.values())


def test_an_answer_has_its_own_cap_and_the_row_the_cap_of_the_run(make_round, engine):
    batch = make_round(*[budget_plan(10, answer_tokens=5)] * 8, budget_plan(CAP - 1), budget_plan(CAP + 5))
    decode(batch, engine.generate)
    found = records(batch)
    assert all(record.length <= 15 for record in found[:8])
    assert found[8].length <= CAP
    assert found[9].length <= CAP and not found[9].forced_end, "the cap comes first"
    cut = [record for record in found[:8] if record.length == 15]
    assert cut and all(record.truncated for record in cut)


def test_a_marker_of_several_tokens_is_found_in_what_was_sampled(make_round, tokenizer):
    marker = tuple(tokenizer.encode("</end", add_special_tokens=False))
    batch = make_round(budget_plan(12, answer_tokens=6), template=Template("", marker))
    drawn = (11, 12, *marker, 13, 14, 15, 16, 17)
    assert len(drawn) == 12
    decode(batch, scripted((0, drawn, "length"), (12, (21,), "eos")))
    assert batch.completion_ids == [[*drawn, 21]] and not batch.generations[0].forced
    assert records(batch)[0].thinking_length == 7


def test_a_prefill_that_closes_the_thinking_has_no_budget(make_round, engine):
    closed = RolloutPlan(prefill="</think>\n\n")
    plain, limited = make_round(closed), make_round(with_budget(closed, ThinkingBudget(2), 0.0))
    decode(plain, engine.generate)
    decode(limited, engine.generate)
    assert plain.generations == limited.generations and records(limited)[0].forced_end is None


def test_a_plan_wins_over_the_run_and_a_schedule_moves(make_round):
    run = ThinkingBudget(100, answer_tokens=7, final_tokens=51)
    own = with_budget(RolloutPlan(thinking_budget=3, forced_end="x</think>"), run, 0.5)
    assert (own.thinking_budget, own.forced_end, own.answer_tokens) == (3, "x</think>", 7)
    moved = [with_budget(RolloutPlan(), run, progress).thinking_budget for progress in (0.0, 0.5, 1.0)]
    assert moved == [100, 76, 51]
    assert with_budget(RolloutPlan(), None, 0.0) == RolloutPlan()


def test_reminders_are_written_while_the_row_thinks(make_round, tokenizer):
    plan = RolloutPlan(reminders=((2, "\na\n"), (4, "\nb\n"), (6, "\nc\n")))
    batch = make_round(plan)
    end = batch.template.end_of_thinking[0]
    decode(batch, scripted((0, (11, 12), "length"), (2, (13, 14), "length"), (4, (15, end), "stop"), (6, (21,), "eos")))
    text = [tokenizer.encode(f"\n{letter}\n", add_special_tokens=False) for letter in "ab"]
    assert batch.completion_ids == [[11, 12, *text[0], 13, 14, *text[1], 15, end, 21]]
    (record,) = records(batch)
    assert (record.length, record.thinking_length, record.forced_end) == (7, 6, None)
    assert batch.forced_masks(None)["trainable"].sum() == 7


def test_reminders_behind_the_cap_are_not_written(make_round, engine):
    plain, reminded = make_round(RolloutPlan()), make_round(RolloutPlan(reminders=((CAP + 1, "\na\n"),)))
    decode(plain, engine.generate)
    decode(reminded, engine.generate)
    assert [g.token_ids for g in reminded.generations] == [g.token_ids for g in plain.generations]


@dataclass
class Budgets(Prompting):
    """Two budgets in every group, one with a trained text and a trained prefill."""

    def __call__(self, prompt_ids, group_size, memory=None, seed=0):
        short = RolloutPlan(thinking_budget=3, forced_end=FORCED)
        trained = RolloutPlan(thinking_budget=5, forced_end=FORCED, train_forced=True, prefill="go", train_prefill=True)
        return [short if i % 2 == 0 else trained for i in range(len(prompt_ids) * group_size)]


def one_batch(trainer):
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, trainer.args.gradient_accumulation_steps
    return trainer.make_batch(trainer.prompts.at(0))


@pytest.mark.parametrize("loss", ["clip", {"name": "kl_penalty", "beta": 0.1}])
@pytest.mark.parametrize("advantage", ["group_zscore", "grpo_s", "ktae"])
def test_what_the_program_wrote_moves_nothing(make_trainer, advantage, loss):
    trainer = make_trainer(loss=loss, advantage=advantage, reward="correctness", thinking_budget={"tokens": 4})
    seen = watched(trainer)
    batch = one_batch(trainer)
    forced = batch["forced"]
    assert forced.any() and not (batch["train_mask"].bool() & forced).any()
    assert batch["num_items_in_batch"] == batch["train_mask"].sum()
    assert seen.scores.advantage.dim() != 2 or not seen.scores.advantage[:, : forced.shape[1]][forced].any()
    log_probs = trainer.objective_loss.log_probs

    def loss_and_gradient(shift):
        def perturbed(*args, **kwargs):
            logps, entropies, aux = log_probs(*args, **kwargs)
            moved = torch.nn.functional.pad(forced, (0, logps.shape[1] - forced.shape[1]))[: len(logps)]
            return logps + shift * moved * logps, entropies + shift * moved, aux

        trainer.objective_loss = dataclasses.replace(trainer.objective_loss, log_probs=perturbed)
        trainer.model.zero_grad()
        found, _, _ = trainer.objective_loss(trainer.model, batch, 0.0, 1)
        found.backward()
        return found.detach(), torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])

    (value, gradient), (moved, moved_gradient) = loss_and_gradient(0.0), loss_and_gradient(0.5)
    assert gradient.abs().sum() > 0
    assert torch.equal(value, moved) and torch.equal(gradient, moved_gradient)


def test_a_plan_may_train_its_text_and_its_prefill_is_forced_and_trained(make_trainer):
    trainer = make_trainer(reward="correctness", advantage={"name": "grpo_s"})
    object.__setattr__(trainer.objective, "prompting", Budgets())
    seen = watched(trainer)
    batch = one_batch(trainer)
    forced, trained = batch["forced"], batch["train_mask"].bool()
    assert forced[1, :2].all() and trained[1, :2].all()
    assert (forced & trained)[1::2].any() and not (forced & trained)[::2].any()
    assert (forced & ~trained)[::2].any()
    fields = trainer.fields(seen.sampled.rollouts, batch, None, trainer.moment)
    assert fields["forced"].dtype == torch.bool and torch.equal(fields["forced"], forced.cpu())
    found = [record.length for record in trainer.maker.records(seen.sampled.rollouts, VERDICTS)]
    rollouts = trainer.maker.rollouts(trainer.maker.records(seen.sampled.rollouts, VERDICTS), trainer.moment, fields)
    width = forced.shape[1]
    assert sampled_tokens(rollouts, width).sum(1).tolist() == found
    assert torch.equal(present_tokens(rollouts, width), batch["completion_mask"].bool().cpu())


VERDICTS = [SimpleNamespace(correct=1.0, status="correct", answer="2")] * 16


def test_a_run_logs_how_many_rows_were_forced(make_trainer):
    trainer = make_trainer(thinking_budget={"tokens": 4, "answer_tokens": 3})
    trainer.train()
    logged = [row for row in trainer.state.log_history if "rollout/forced" in row]
    assert len(logged) == 2 and all(
        0 < row["rollout/forced"] <= 1 and row["completions/max_length"] <= 7 for row in logged
    )
    assert all(0 <= row["rollout/forced_right"] <= 1 for row in logged)
    plain = make_trainer()
    plain.train()
    assert not any("rollout/forced" in row for row in plain.state.log_history)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tokens": 0}, "thinking_budget.tokens"),
        ({"tokens": 4, "answer_tokens": 0}, "thinking_budget.answer_tokens"),
        ({"tokens": 4, "text": "stop"}, "thinking_budget.text"),
        ({"token": 4}, "tokens"),
        ("4096", "thinking_budget"),
    ],
)
def test_a_wrong_budget_is_refused_when_the_recipe_is_read(given, named):
    with pytest.raises(ConfigError, match=named):
        Recipe.of({"model_name_or_path": "testbed", "thinking_budget": given})


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ({"thinking_budget": {"tokens": 64}, "max_completion_length": 64}, "thinking_budget.tokens"),
        ({"thinking_budget": {"tokens": 8, "final_tokens": 70}, "max_completion_length": 64}, "thinking_budget.tokens"),
        (
            {"thinking_budget": {"tokens": 50}, "prompting": {"name": "thinkprune", "limit": 40}},
            "thinking_budget.tokens",
        ),
    ],
)
def test_a_budget_without_room_for_an_answer_is_refused_before_the_model_is_loaded(recipe, named, tmp_path):
    from tersely.rl.check import check_recipe

    values = {"model_name_or_path": "testbed", "run_dir": str(tmp_path), "max_steps": 2, **recipe}
    with pytest.raises(ConfigError, match=named):
        check_recipe(Recipe.of(values), 1)


def test_a_model_without_a_marker_is_refused_and_the_text_needs_room(tokenizer):
    from tersely.algorithms.objective import Objective
    from tersely.rl.config.budget_check import check_marker, largest_written

    run = Recipe.of({"model_name_or_path": "testbed", "thinking_budget": {"tokens": 8}})
    plain = SimpleNamespace(chat_template="{{ messages }}", encode=lambda text, add_special_tokens: list(text))
    objective = Objective.from_specs({})
    with pytest.raises(ConfigError, match="thinking_budget"):
        check_marker(run, objective, plain)
    check_marker(run.replaced(thinking_budget=None), objective, plain)
    check_marker(run, objective, tokenizer)
    assert largest_written(run, objective, tokenizer) == len(tokenizer.encode("\n</think>\n\n"))
