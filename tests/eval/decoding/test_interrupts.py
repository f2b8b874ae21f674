"""Strategies that write into a trace: countdowns, an early end, an end taken back."""

from tersely.eval.decoding.think_less import ThinkLess
from tersely.eval.decoding.thought_terminator import TERMINATION, ThoughtTerminator
from tersely.eval.decoding.wait_forcing import WaitForcing


def decode(engine, one):
    return engine.tokenizer.decode(one.token_ids)


def test_countdown_and_deadline(scripted, greedy):
    engine, prompts = scripted(
        "a" * 30 + "</think>", {"continue.\n\n": "b" * 400, "b": "b" * 400, "\\boxed{": "7}<eos>"}
    )
    one = ThoughtTerminator(deadline=300, interval=20)(engine, prompts, greedy, 0)[0]
    text = decode(engine, one)
    assert text.startswith(
        "a" * 20 + "\n\nI have used 20 tokens, and I have 280 tokens left to answer. Let me continue.\n\n"
    )
    assert text.endswith(TERMINATION + "7}<eos>") and one.finish == "forced" and one.budget == 300
    used = 20 + len(engine.ids(text[20 : text.index("b")])) + 20
    assert f"I have used {used} tokens" in text, "the interrupt counts itself"
    assert ThoughtTerminator(deadline=600).interval is None


def test_a_box_ends_the_sample(scripted, greedy):
    engine, prompts = scripted("so \\boxed{57} and then" + "a" * 50)
    one = ThoughtTerminator(deadline=100, interval=16)(engine, prompts, greedy, 0)[0]
    assert one.finish == "stopped_early" and decode(engine, one) == "so \\boxed{57} an"


def test_think_less(scripted, greedy):
    engine, prompts = scripted("a" * 30 + "</think>7<eos>", {"}.\n\n": "\\boxed{7}<eos>"})
    one = ThinkLess(k=5)(engine, prompts, greedy, 0)[0]
    instruction = "\n</think>\n\nGive a brief solution and put the final answer within \\boxed{}.\n\n"
    assert decode(engine, one) == "a" * 5 + instruction + "\\boxed{7}<eos>" and one.finish == "forced"
    assert decode(engine, ThinkLess(k=0)(engine, prompts, greedy, 0)[0]).startswith("\n</think>")


def test_the_end_is_taken_back(scripted, greedy):
    engine, prompts = scripted("abc</think>7<eos>", {"Wait": "def</think>8<eos>"})
    engine.probes = {"abcWait": "def</think>8<eos>", "defWait": "gh</think>9<eos>", "gh</think>": "9<eos>"}
    one = WaitForcing(times=2)(engine, prompts, greedy, 0)[0]
    assert decode(engine, one) == "abcWaitdefWaitgh</think>9<eos>" and one.finish == "eos"
    assert one.extra_tokens == 2 and sum(one.injected) == 8, "two markers were drawn and thrown away"


def test_an_end_of_sequence_counts_as_an_end_of_thinking(scripted, greedy):
    engine, prompts = scripted("abc<eos>", {"Wait": "de</think>", "de</think>": "8<eos>"})
    assert decode(engine, WaitForcing(times=1)(engine, prompts, greedy, 0)[0]) == "abcWaitde</think>8<eos>"
    assert decode(engine, WaitForcing(times=1, max_thinking=3)(engine, prompts, greedy, 0)[0]) == "abc<eos>"
