"""Rollouts that leave a shared trace early: what they share, what they sample, what trains, what is counted."""

from __future__ import annotations

import pytest
from support.tiny import watched

from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.core.types import Exit, RolloutPlan
from tersely.engines.base import Generation
from tersely.rl.rollouts.exits import generate_exits
from tersely.rl.rollouts.phased import generate_rows
from tersely.rl.rollouts.rollout import RolloutRound, Template

CAP = 40
TEXT = "\n</think>\n"


def decoded(tokenizer, plans, generate, groups=1, decode=generate_exits):
    rows = [
        {"prompt": [{"role": "user", "content": f"{g}+1="}], "prompt_id": f"p{g}", "problem": "x", "answer": "2"}
        for g in range(groups)
        for _ in plans
    ]
    batch = RolloutRound(rows, list(plans) * groups, tokenizer, Template.of(tokenizer))
    batch.tokenize()
    requests = batch.requests(seed=0, step=3, first_row=0, group_size=len(plans), cap=CAP)
    batch.finish(decode(batch, requests, generate))
    return batch


def s_grpo(exits=4, **more):
    return build("prompting", {"name": "s_grpo", "exits": exits, "text": TEXT, **more})(["p"], exits + 1)


def brpo(traces=2, budgets=(4, 8), answers=2, **more):
    spec = {"name": "brpo", "traces": traces, "budgets": list(budgets), "answers": answers, "text": TEXT, **more}
    return build("prompting", spec)(["p"], traces * len(budgets) * answers)


def test_the_trace_is_the_ordinary_rollout_and_exits_share_its_first_tokens(tokenizer, engine):
    batch = decoded(tokenizer, s_grpo(answer_tokens=5), engine.generate, groups=6)
    plain = decoded(tokenizer, [RolloutPlan()], engine.generate, groups=6, decode=generate_rows)
    text = tuple(tokenizer.encode(TEXT, add_special_tokens=False))
    for g in range(6):
        *early, trace = batch.generations[5 * g : 5 * g + 5]
        assert trace.token_ids == plain.generations[g].token_ids and trace.finish == plain.generations[g].finish
        assert not trace.forced and trace.prefix == len(trace.token_ids)
        positions = [one.prefix for one in early]
        assert positions == sorted(positions) and min(positions) >= 1
        for one in early:
            at = one.prefix
            assert one.token_ids[:at] == trace.token_ids[:at] and one.token_ids[at : at + 3] == text
            assert len(one.sampled_ids) <= min(at + 5, CAP) and sum(one.forced) == 3
    assert len({one.prefix for one in batch.generations}) > 5


def test_answers_at_one_exit_differ_and_every_batch_draws_the_same(tokenizer, engine):
    plans = brpo(answers=3)
    batch = decoded(tokenizer, plans, engine.generate, groups=3)
    answers = [g.token_ids[g.prefix :] for g in batch.generations[:3]]
    assert len(set(answers)) == 3
    alone = decoded(tokenizer, plans, engine.generate)
    assert alone.generations == batch.generations[: len(plans)]


def test_a_trace_that_closed_before_its_budget_answers_at_its_end(tokenizer):
    end = tokenizer.encode("</think>", add_special_tokens=False)[0]
    traces = iter([((11, 12, end), "stop"), ((13, 14, 15, tokenizer.eos_token_id), "eos")])

    def generate(asked):
        if len(asked) == 2:
            return [Generation(ids, None, finish) for ids, finish in traces]
        return [Generation((21,), None, "eos") for _ in asked]

    batch = decoded(tokenizer, brpo(budgets=(2, 6), answers=1, closed_text="!"), generate)
    text, closed = (tuple(tokenizer.encode(one, add_special_tokens=False)) for one in (TEXT, "!"))
    assert [g.token_ids for g in batch.generations] == [
        (11, 12, *text, 21),
        (11, 12, end, *closed, 21),
        (13, 14, *text, 21),
        (13, 14, 15, tokenizer.eos_token_id),
    ]
    assert [g.prefix for g in batch.generations] == [2, 3, 2, 4]
    masks = batch.forced_masks(None)
    assert masks["trainable"].sum(1).tolist() == [1, 4, 1, 4], "each trace trains once, each answer by itself"
    assert masks["forced"].sum(1).tolist() == [3, 1, 3, 0]


def test_a_trace_without_thinking_leaves_at_its_start(tokenizer):
    def generate(asked):
        end = tokenizer.encode("</think>", add_special_tokens=False)[0]
        return [Generation((end, 9) if len(asked) == 1 else (21,), None, "eos") for _ in asked]

    batch = decoded(tokenizer, s_grpo(exits=2), generate)
    assert [g.prefix for g in batch.generations] == [0, 0, 2]


def one_batch(trainer):
    trainer.model.train()
    trainer.state.max_steps, trainer.current_gradient_accumulation_steps = 2, trainer.args.gradient_accumulation_steps
    return trainer.make_batch(trainer.prompts.at(0))


S_GRPO = {
    "prompting": {"name": "s_grpo", "exits": 3, "answer_tokens": 4, "text": TEXT},
    "reward": "s_grpo",
    "advantage": "group_mean",
}
BRPO = {
    "prompting": {
        **{"name": "brpo", "traces": 1, "budgets": [4, 8], "answers": 2, "answer_tokens": 4, "text": TEXT},
        "closed_text": "!",
    },
    "reward": "correctness",
    "advantage": "brpo",
}


@pytest.mark.parametrize("recipe", [S_GRPO, BRPO], ids=["s_grpo", "brpo"])
def test_a_run_trains_and_counts_each_trace_once(make_trainer, recipe):
    trainer = make_trainer(**recipe, aggregate="sequence")
    trainer.train()
    logged = [row for row in trainer.state.log_history if "engine/tokens" in row]
    assert len(logged) == 2 and all(row["engine/tokens"] < 16 * row["efficiency/tokens_mean"] for row in logged)
    assert all(row["grad_norm"] > 0 for row in logged)
    assert {row["exit"] for row in trainer.logged_rows} == set(range(4 if recipe is S_GRPO else 2))


@pytest.mark.parametrize("recipe", [S_GRPO, BRPO], ids=["s_grpo", "brpo"])
def test_fields_masks_and_metrics_of_a_batch(make_trainer, recipe):
    trainer = make_trainer(**recipe)
    seen = watched(trainer)
    batch = one_batch(trainer)
    rows, forced, trained = trainer.logged_rows, batch["forced"], batch["train_mask"].bool()
    assert not (forced & trained).any()
    records = [row["length"] for row in rows]
    drawn = trainer._metrics["train"]["engine/tokens"][-1]
    if recipe is S_GRPO:
        assert trained.sum(1).tolist() == records
        traces = [row["length"] for row in rows if row["exit"] == 3]
        answers = sum(row["length"] - row["prefix"] for row in rows)
        assert drawn == sum(traces) + answers
        assert trainer._metrics["train"]["efficiency/tokens_mean"][-1] == sum(traces) / len(traces)
    else:
        carriers = trained[:, 0].tolist()
        assert sum(carriers) <= 4 and all(
            trained[i, : rows[i]["prefix"]].sum() == 0 for i in range(16) if not carriers[i]
        )
        advantage = seen.scores.advantage
        assert advantage.shape[0] == 16 and not advantage[:, : forced.shape[1]][forced].any()


def test_exits_are_resampled_in_rounds(make_trainer):
    recipe = {**S_GRPO, "prompting": {**S_GRPO["prompting"], "exits": 1}, "group_size": 2, "prompts_per_step": 8}
    trainer = make_trainer(**recipe, filter="mixed_groups", max_resample_rounds=3)
    one_batch(trainer)
    rows = trainer.logged_rows
    assert trainer._metrics["train"]["groups/resampled"][-1] > 0
    for early, trace in zip(rows[::2], rows[1::2], strict=True):
        assert (early["exit"], trace["exit"]) == (0, 1) and early["prompt_id"] == trace["prompt_id"]
        assert trace["prefix"] == trace["length"]


@pytest.mark.parametrize("name", ["s_grpo", "brpo"])
def test_a_group_of_another_size_is_refused(name):
    with pytest.raises(ConfigError, match="group_size"):
        build("prompting", name)(["p"], 4)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "s_grpo", "exits": 0},
        {"name": "s_grpo", "text": "stop"},
        {"name": "brpo", "budgets": [4, 2]},
        {"name": "brpo", "budgets": []},
        {"name": "brpo", "traces": 0},
        {"name": "brpo", "text": "stop"},
    ],
)
def test_parameters_out_of_range_are_refused(spec):
    with pytest.raises(ConfigError, match=spec["name"]):
        build("prompting", spec)


def test_an_exit_at_the_cap_is_refused_before_the_run(tmp_path):
    from tersely.configs.recipe import Recipe
    from tersely.rl.check import check_recipe

    values = {"model_name_or_path": "testbed", "run_dir": str(tmp_path), "max_steps": 2, "group_size": 4, **BRPO}
    with pytest.raises(ConfigError, match="max_completion_length"):
        check_recipe(Recipe.of({**values, "max_completion_length": 8}), 1)
    check_recipe(Recipe.of({**values, "max_completion_length": 9}), 1)


def test_defaults_of_an_exit_end_the_thinking():
    assert "</think>" in Exit().text
