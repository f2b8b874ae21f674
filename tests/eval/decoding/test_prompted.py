"""Strategies that change what the model reads: an instruction, a finished thought, drafts, a number of tokens."""

from tersely.eval.decoding.base import ANSWER_CAP
from tersely.eval.decoding.budget_prompt import BudgetPrompt
from tersely.eval.decoding.chain_of_draft import CLOSING, DRAFT, ChainOfDraft
from tersely.eval.decoding.concise import Concise
from tersely.eval.decoding.no_thinking import NoThinking


def prompt_text(engine, one):
    return engine.tokenizer.decode(one.prompt_ids)


def test_concise(tiny_engine, prompts, greedy):
    one = Concise("Don't overthink.")(tiny_engine, prompts, greedy, 0)[0]
    assert prompt_text(tiny_engine, one) == "<user>0+0=\nDon't overthink.<assistant><think>\n"
    assert not any(one.injected)


def test_budget_prompt(tiny_engine, prompts, greedy):
    for mode, words in (("exact", "Think for 64 tokens."), ("max", "Think for maximum 64 tokens.")):
        one = BudgetPrompt(64, mode)(tiny_engine, prompts, greedy, 0)[0]
        ending = " Let's think step by step and output the final answer within \\boxed{}. " + words
        assert prompt_text(tiny_engine, one) == f"<user>0+0={ending}<assistant><think>\n" and one.budget == 64
    tale = BudgetPrompt(64, "tale")(tiny_engine, prompts, greedy, 0)[0]
    assert "0+0= Let's think step by step and use less than 64 tokens:<" in prompt_text(tiny_engine, tale)


def test_chain_of_draft(tiny_engine, prompts, greedy):
    one = ChainOfDraft()(tiny_engine, prompts, greedy, 0)[0]
    assert prompt_text(tiny_engine, one) == f"<user>0+0=\n{DRAFT} {CLOSING}<assistant><think>\n"
    shots = ChainOfDraft((("1+1=", "2 #### 2"),))(tiny_engine, prompts, greedy, 0)[0]
    assert prompt_text(tiny_engine, shots).startswith(
        f"<user>1+1=\n{DRAFT} {CLOSING}<assistant>2 #### 2<user>0+0=\n{DRAFT}"
    )


def test_what_chain_of_draft_grades():
    graded = ChainOfDraft().graded
    assert (
        graded("a #### 3 b #### 57\n") == "57" and graded("no separator") == "no separator" and graded("x ####") == ""
    )


def test_no_thinking(scripted, greedy):
    engine, prompts = scripted("never read<eos>", {"</think>\n\n": "\\boxed{7}<eos>"})
    one = NoThinking()(engine, prompts, greedy, 0)[0]
    assert (
        engine.tokenizer.decode(one.token_ids) == "Okay, I think I have finished thinking.\n</think>\n\n\\boxed{7}<eos>"
    )
    assert one.thinking_length == len(engine.ids("Okay, I think I have finished thinking.\n</think>"))
    assert one.injected.count(False) == len(engine.ids("\\boxed{7}<eos>")) and one.finish == "eos"
    empty = NoThinking("")(engine, prompts, greedy, 0)[0]
    assert engine.tokenizer.decode(empty.token_ids).startswith("\n</think>\n\n")


def test_thinking_that_goes_on_in_the_answer_is_capped(scripted, greedy):
    for cap, written in ((100_000, ANSWER_CAP), (50, 50)):
        engine, prompts = scripted("never read<eos>", {"</think>\n\n": "a" * 5000}, cap=cap)
        one = NoThinking("")(engine, prompts, greedy, 0)[0]
        assert one.injected.count(False) == written and one.finish == "length" and one.truncated


def test_thinking_is_opened_where_the_template_does_not(tiny_engine, prompts_for, greedy):
    from dataclasses import replace

    bare = [replace(p, prompt_ids=p.prompt_ids[:-2]) for p in prompts_for(tiny_engine.tokenizer, count=1, cap=300)]
    one = NoThinking()(tiny_engine, bare, greedy, 0)[0]
    assert tiny_engine.tokenizer.decode(one.prompt_ids + one.token_ids).count("<think>") == 1
