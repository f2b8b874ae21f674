"""A training plan's prompting at evaluation, and ARM's consensus of the cheap formats."""

import pytest

from tersely.algorithms.prompting.hbpo import EFFICIENT
from tersely.core.errors import ConfigError
from tersely.data.benchmarks import Sampling
from tersely.eval.decoding.arm_consensus import ArmConsensus, answer_of
from tersely.eval.decoding.base import Prompt
from tersely.eval.decoding.prompting import MethodPrompting
from tersely.eval.decoding.registry import STRATEGIES
from tersely.eval.decoding.spec import parse


def written(engine, one):
    ids = [i for i, injected in zip(one.token_ids, one.injected, strict=True) if injected]
    return engine.tokenizer.decode(ids)


def test_prefills_stand_behind_the_templates_opening(tiny_engine, prompts, greedy):
    efficient = {"name": "hbpo", "prompting": "efficient"}
    one = MethodPrompting(efficient)(tiny_engine, prompts[:1], greedy, 0)[0]
    assert written(tiny_engine, one) == EFFICIENT.removeprefix("<think> ")
    imposed = MethodPrompting({"name": "selfbudgeter", "budget": 60})(tiny_engine, prompts[:1], greedy, 0)[0]
    assert written(tiny_engine, imposed) == "<budget>60</budget>" and imposed.budget == 60


def test_instructions_reach_the_prompt(tiny_engine, prompts, greedy):
    one = MethodPrompting("autothink")(tiny_engine, prompts[:1], greedy, 0)[0]
    assert "final answer within \\boxed{}.<assistant><think>\n" in tiny_engine.tokenizer.decode(one.prompt_ids)
    assert written(tiny_engine, one) == "...\n"


def test_the_samples_of_a_problem_get_the_rows_of_its_group(tiny_engine, prompts):
    four = [Prompt("p0", j, prompts[0].prompt_ids, 12, prompts[0].messages, prompts[0].render) for j in range(4)]
    sampling = Sampling(samples=4, temperature=0.0, top_p=1.0, max_new_tokens=12)
    plan = MethodPrompting({"name": "hbpo", "budgets": [8, 16]})
    found = plan(tiny_engine, four, sampling, 0)
    assert [one.budget for one in found] == [8, 8, 16, 16]
    assert [plan(tiny_engine, [one], sampling, 0)[0].budget for one in four] == [8, 8, 16, 16]


def test_a_plan_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="prompting 'arn'"):
        parse("prompting:of=arn")
    assert parse("prompting:of={name: arm, mode: code}").label == "prompting(of={'name': 'arm', 'mode': 'code'})"
    assert STRATEGIES["prompting"] is MethodPrompting


FORMATS = {
    "<ANSWER>\n": "\\boxed{7}\n</ANSWER><eos>",
    "<COT>\n": "3 + 4\n</COT>\n<ANSWER>\n\\boxed{7}\n</ANSWER><eos>",
    "<CODE>\n": "x = 3 + 4\n</CODE>\n<ANSWER>\n\\boxed{7}\n</ANSWER><eos>",
    "<LONG_COT>\n": "wait\n</LONG_COT>\n<ANSWER>\n\\boxed{8}\n</ANSWER><eos>",
}


def test_three_that_agree_are_the_answer(scripted, greedy):
    engine, prompts = scripted("never read<eos>", FORMATS)
    one = ArmConsensus()(engine, prompts, greedy, 0)[0]
    assert engine.tokenizer.decode(one.token_ids) == "<ANSWER>\n" + FORMATS["<ANSWER>\n"]
    assert one.cost == sum(len(engine.ids(tag + FORMATS[tag])) for tag in list(FORMATS)[:3])


def test_one_that_disagrees_calls_for_the_long_chain(scripted, greedy):
    other = {**FORMATS, "<CODE>\n": FORMATS["<CODE>\n"].replace("{7}", "{9}")}
    engine, prompts = scripted("never read<eos>", other)
    one = ArmConsensus()(engine, prompts, greedy, 0)[0]
    assert engine.tokenizer.decode(one.token_ids).endswith(other["<LONG_COT>\n"])
    assert one.cost == sum(len(engine.ids(tag + text)) for tag, text in other.items())


def test_what_counts_as_an_answer():
    assert answer_of("<COT>a</COT>\n<ANSWER>\n\\boxed{12}\n</ANSWER>") == "12"
    assert answer_of("<ANSWER>12</ANSWER>") == "12" and answer_of("no tags \\boxed{3}") == "3" and answer_of("") == ""
