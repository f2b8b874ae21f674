import pytest

from tersely.core.errors import ConfigError
from tersely.eval.decoding.spec import parse
from tersely.eval.run_arrays import strategy_label


def test_names_and_parameters():
    chosen = parse('forced_answer:budgets=[0, 64,128],answer_prefix="\\n</think>, so: \\\\boxed{"')
    assert chosen.strategy.budgets == (0, 64, 128) and chosen.strategy.answer_prefix == "\n</think>, so: \\boxed{"
    first, *rest = chosen.variants()
    assert len(rest) == 2 and first.strategy.budget == 0 and first.strategy.budgets == ()
    assert first.label.startswith("forced_answer(budget=0, answer_prefix=")
    assert parse("vanilla").label is None and parse("vanilla").record is None


@pytest.mark.parametrize("text", ["no_thinking", "forced_answer:budget=64", "reflection_ban:keywords=[wait, hmm]"])
def test_the_label_is_what_reports_make_of_the_record(text):
    assert strategy_label(parse(text).record) == parse(text).label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forced_anser:budget=3", "'forced_answer'"),
        ("forced_answer", "forced_answer.*`budget`"),
        ("forced_answer:budget=3,budgets=[4]", "forced_answer.*`budget`"),
        ("forced_answer:budget=-1", "forced_answer.budget.*-1.*0"),
        ("forced_answer:budget=many", "budget.* 'many'"),
        ("forced_answer:bugdet=3", "parameter 'bugdet'.*'budget'"),
        ("forced_answer:64", "forced_answer.*'64'"),
        ("forced_answer:budget=3,budget=4", "budget.*twice"),
        ("forced_answer:budget=[1", "budget.*YAML"),
        ("forced_answer:budget=3,answer_prefix=now", "answer_prefix.*</think>"),
        ("budget_prompt", "missing tokens"),
        ("budget_prompt:tokens=9,mode=exakt", "'exact'"),
        ("reflection_ban:scope=some", "scope.* 'some'"),
        ("answer_convergence:confidence=2", "answer_convergence.confidence.* 2"),
        ("thought_terminator:deadline=0", "thought_terminator.deadline.* 0"),
        ("think_less:k=-1", "think_less.k.* -1"),
        ("wait_forcing:times=-1", "wait_forcing.times.* -1"),
        ("cntp:h_min=2", "cntp.h_max.*1.5.*h_min"),
        ("moi:beta=-3", "-100"),
        ("soft_thinking:top_n=0", "soft_thinking.top_n.* 0"),
        ("chain_of_draft:few_shot=[a]", "list of \\[question, response\\]"),
        ("seal", "missing vector"),
        ("diff_adapt:probe=x", "missing budget"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text)
