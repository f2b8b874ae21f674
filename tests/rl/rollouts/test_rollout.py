"""Rows and plans become requests, generations become facts."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from tersely.core.parse_completion import parse_completion
from tersely.core.types import RolloutPlan
from tersely.engines.base import Generation
from tersely.engines.chat import with_instruction
from tersely.engines.models import load_tokenizer
from tersely.rl.rollouts.rollout import RolloutRound, Template


@pytest.fixture
def make_round(tiny_model):
    tokenizer = load_tokenizer(str(tiny_model))

    def make(*plans, prompt=(1,)):
        rows = [
            {"prompt": [{"role": "user", "content": "1+1="}], "prompt_id": "p", "problem": "1+1=", "answer": "2"}
            for _ in plans
        ]
        return RolloutRound(
            rows, list(plans), tokenizer, Template.of(tokenizer), prompt_ids=[list(prompt)] * len(plans)
        )

    return make


def test_an_instruction_is_added_to_the_last_message_and_to_no_other(make_round):
    asked = make_round(RolloutPlan(instruction="Be brief."), RolloutPlan()).messages()
    assert [chat[-1]["content"] for chat in asked] == ["1+1=\nBe brief.", "1+1="]
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert with_instruction(chat, "x")[0] == chat[0] and chat[1]["content"] == "u"


def test_the_cap_of_a_plan_only_lowers(make_round):
    plans = (RolloutPlan(max_new_tokens=3), RolloutPlan(max_new_tokens=99), RolloutPlan())
    requests = make_round(*plans).requests(seed=0, step=1, first_row=0, group_size=3, cap=10)
    assert [request.max_new_tokens for request in requests] == [3, 10, 10]
    assert len({request.seed for request in requests}) == 3


def test_seeds_follow_the_global_row_whatever_the_rank(make_round):
    plans = (RolloutPlan(),) * 4
    whole = make_round(*plans).requests(seed=5, step=2, first_row=0, group_size=4, cap=8)
    later = make_round(*plans[:2]).requests(seed=5, step=2, first_row=2, group_size=4, cap=8)
    assert [r.seed for r in whole[2:]] == [r.seed for r in later]


def test_a_trained_prefill_goes_to_the_completion_the_other_to_the_prompt(make_round):
    both = make_round(RolloutPlan(prefill="go", train_prefill=True), RolloutPlan(prefill="go"))
    both.tokenize()
    prompts = both.prompt_ids
    requests = both.requests(seed=0, step=0, first_row=0, group_size=2, cap=4)
    assert prompts[1] == [*prompts[0], *both.tokenizer.encode("go", add_special_tokens=False)]
    assert requests[0].prompt_ids == requests[1].prompt_ids
    both.finish([Generation((7, 8), (-0.1, -0.2), "eos"), Generation((7, 8), (-0.1, -0.2), "length")])
    assert [len(ids) for ids in both.completion_ids] == [4, 2]
    assert [math.isnan(x) for x in both.sampler_logprobs()[0]] == [True, True, False, False]
    assert both.texts[0].startswith("go") and both.texts[1].startswith("go")
    verdict = SimpleNamespace(correct=1.0, status="correct", answer="2")
    facts = both.records([verdict, verdict], parse_completion)
    assert [(f.length, f.truncated) for f in facts] == [(2, False), (2, True)]


def test_thinking_is_opened_once(make_round):
    rounds = make_round(RolloutPlan(prefill="<think>\nOkay"))
    assert rounds.template.opens_thinking
    rounds.tokenize()
    assert rounds.tokenizer.decode(rounds.prompt_ids[0]).endswith("<think>\nOkay")
    assert rounds.tokenizer.decode(rounds.prompt_ids[0]).count("<think>") == 1


def test_a_rank_without_rows_finishes_with_nothing(make_round):
    nothing = make_round()
    nothing.tokenize()
    nothing.finish([])
    assert nothing.texts == [] and nothing.completion_ids == []


def test_thinking_that_the_prefill_closed_has_no_tokens(make_round):
    closed = RolloutPlan(prefill="</think>", train_prefill=True)
    both = make_round(closed, RolloutPlan(prefill="<think>\nOkay"))
    both.finish([Generation((7, 8), None, "eos"), Generation((7, 8), None, "eos")])
    verdict = SimpleNamespace(correct=1.0, status="correct", answer="2")
    assert [fact.thinking_length for fact in both.records([verdict, verdict], parse_completion)] == [0, 2]
