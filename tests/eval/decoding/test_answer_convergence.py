import pytest

from tersely.core.errors import ConfigError
from tersely.engines.registry import Capabilities
from tersely.eval.decoding.answer_convergence import AnswerConvergence, boxed_content, same_answer

TRACE = "a" * 40 + "</think>\\boxed{9}<eos>"


def run(scripted, greedy, answers, **parameters):
    """Probes after 8, 16, ... tokens give these answers."""
    given = iter(answers)
    probes = {"\\boxed{": lambda text: next(given), "</think>\n\n": "\\boxed{7}<eos>"}
    engine, prompts = scripted(TRACE, probes)
    one = AnswerConvergence(chunk=8, **parameters)(engine, prompts, greedy, 0)[0]
    return engine, one, engine.tokenizer.decode(one.token_ids)


def test_two_equal_answers_stop(scripted, greedy):
    engine, one, text = run(scripted, greedy, ["3} ab", "07} x", "7.0} x"])
    assert one.finish == "stopped_early" and text == "a" * 24 + "</think>\n\n\\boxed{7}<eos>"
    prefix = len(engine.ids("\n</think>\n\n\\boxed{"))
    assert one.extra_tokens == 3 * prefix + len("3} ab") + len("07} x") + len("7.0} x")
    assert not one.truncated and one.cost == len(one.token_ids) + one.extra_tokens


@pytest.mark.parametrize(
    "answers", [["7}", "8}", "7}", "8}", "7}"], ["7}", "", "7}", "no brace", "7}"], ["}", "}", "}", "}", "}"]]
)
def test_mismatches_and_empty_answers_start_the_count_again(scripted, greedy, answers):
    _, one, text = run(scripted, greedy, answers)
    assert one.finish == "eos" and text == TRACE and one.extra_tokens > 0


def test_agree_1_stops_at_the_first_answer(scripted, greedy):
    assert run(scripted, greedy, ["", "5}"], agree=1)[2].startswith("a" * 16 + "</think>\n\n")


def test_min_thinking_holds_probes_back(scripted, greedy):
    engine, one, _ = run(scripted, greedy, ["7}", "7}"], min_thinking=30)
    assert one.finish == "stopped_early" and one.thinking_length > 32


def test_confidence(scripted, greedy):
    _, sure, _ = run(scripted, greedy, ["7} x"], confidence=0.95)
    assert sure.finish == "stopped_early" and len(sure.token_ids) < 30
    given = iter(["7}"] * 9)
    engine, prompts = scripted(TRACE, {"\\boxed{": lambda text: next(given)}, logprob=-0.5)
    assert AnswerConvergence(chunk=8, confidence=0.95)(engine, prompts, greedy, 0)[0].finish == "eos"


def test_confidence_needs_log_probs(scripted, greedy):
    engine, prompts = scripted(TRACE, {"\\boxed{": "7}"})
    engine.capabilities = Capabilities()
    with pytest.raises(ConfigError, match="--engine"):
        AnswerConvergence(chunk=8, confidence=0.5)(engine, prompts, greedy, 0)


def test_candidates():
    assert (
        boxed_content("\\frac{1}{2}} and") == "\\frac{1}{2}" and boxed_content("7") == "" and boxed_content(" } ") == ""
    )
    assert same_answer("0.5", "\\frac{1}{2}") and same_answer("1,000", "1000") and not same_answer("7", "8")
