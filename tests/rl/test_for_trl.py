"""Our rewards as TRL reward functions: facts of a row, whole groups, learning, errors."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from datasets import Dataset

import tersely.rewards
from tersely.core.build import build
from tersely.core.errors import ConfigError
from tersely.rl.for_trl import for_trl, group_size_of, with_prompting

TOKENIZER = SimpleNamespace(eos_token_id=0, chat_template=None)


@dataclass
class Verdict:
    correct: float
    status: str = "decided"
    answer: str | None = None


class Match:
    """Right where the text ends with the gold, undecided where it says so."""

    def verify(self, golds, texts):
        return [Verdict(math.nan if "?" in t else float(t.endswith(g))) for g, t in zip(golds, texts, strict=True)]


def call(reward, completions=("a 4", "b 5", "c 4", "d?"), **columns):
    rows = len(completions)
    values = {
        "prompts": ["what is 2 + 2"] * rows,
        "completion_ids": [[1] * n + [0] for n in range(1, rows + 1)],
        "answer": ["4"] * rows,
        **columns,
    }
    return reward(completions=list(completions), **values)


def test_values_are_those_of_the_term_on_the_group(make_rollouts):
    reward = for_trl({"name": "alp", "beta": 0.1, "normalizer": 10}, TOKENIZER, verifier=Match())
    expected = build("reward", {"name": "alp", "beta": 0.1, "normalizer": 10})
    got = call(reward)
    data = make_rollouts([2, 3, 4, 5], [1, 0, 1, math.nan])
    assert got[:3] == pytest.approx(expected(data)[:3].tolist()) and got[3] is None
    assert reward.__name__ == "alp" and tersely.rewards.for_trl is for_trl


def test_chat_completions_and_a_sum_of_terms():
    reward = for_trl([{"name": "correctness"}, {"name": "kimi", "weight": 0.5}], TOKENIZER, verifier=Match())
    chats = [[{"role": "assistant", "content": text}] for text in ("4", "5")]
    assert call(reward, chats) == pytest.approx([1.25, -0.25]) and reward.__name__ == "correctness+kimi"


def test_a_row_that_does_not_end_with_eos_is_truncated():
    reward = for_trl("truncation", TOKENIZER, max_completion_length=3, verifier=Match())
    assert call(reward, ("4", "4"), completion_ids=[[5, 5, 0], [5, 5, 5]]) == [1, 0]
    chat = for_trl("truncation", TOKENIZER, max_completion_length=3, stop_ids=[5], verifier=Match())
    assert call(chat, ("4", "4"), completion_ids=[[5, 5, 0], [5, 5, 5]]) == [0, 1]


def test_an_answer_counts_only_if_its_completion_ended():
    cut = [[5, 5, 0], [5, 5, 7], [5, 5, 5]]
    tokenizer = SimpleNamespace(eos_token_id=0, pad_token_id=7, chat_template=None)
    assert call(for_trl("correctness", tokenizer, verifier=Match()), ("4", "4", "4"), completion_ids=cut) == [1, 1, 0]
    counting = for_trl("correctness", tokenizer, ended=False, verifier=Match())
    assert call(counting, ("4", "4", "4"), completion_ids=cut) == [1, 1, 1]
    seen = {}
    call(
        for_trl("correctness", TOKENIZER, verifier=Match()),
        ("4", "?"),
        completion_ids=cut[1:],
        log_metric=seen.__setitem__,
    )
    assert seen["verify/not_ended"] == 0.5 and seen["verify/undecided"] == 0.5
    with pytest.raises(ConfigError, match="Pass tokenizer= or stop_ids="):
        for_trl("correctness", verifier=Match())
    assert call(for_trl("correctness", ended=False, verifier=Match()), ("4", "4"), completion_ids=cut[1:]) == [1, 1]


def test_completions_that_end_early_with_an_unknown_token_are_reported_once(recwarn):
    reward = for_trl("correctness", TOKENIZER, max_completion_length=3, verifier=Match())
    call(reward, ("4", "4"), completion_ids=[[5, 5, 5], [5, 5, 0]])
    ours = lambda: [one for one in recwarn.list if "stop_ids" in str(one.message)]  # not what other tests left behind
    assert not ours(), "the cap truncates"
    for _ in range(2):
        call(reward, ("4", "4"), completion_ids=[[5, 9], [5, 0]])
    (warning,) = ours()
    assert "[9]" in str(warning.message)


def test_the_cap_is_asked_for_only_by_terms_that_read_it():
    with pytest.raises(ConfigError, match="max_completion_length"):
        call(for_trl("cosine", TOKENIZER, verifier=Match()))
    assert call(for_trl("kimi", TOKENIZER, verifier=Match()))[0] == 0.5


def test_budgets_come_from_the_column_or_from_the_completion():
    l1 = for_trl({"name": "l1_exact", "alpha": 0.1}, TOKENIZER, verifier=Match())
    assert call(l1, ("4", "4"), budget=[2, 4]) == pytest.approx([1.0, 0.9])
    own = for_trl("selfbudgeter", TOKENIZER, prompting="selfbudgeter", verifier=Match())
    text = "<budget>2</budget><solution>x</solution>"
    assert call(own, (text, "no budget"))[1] == -1 and call(own, (text, "4"))[0] > -1


def test_a_learning_term_learns_once_a_call_and_is_saved():
    reward = for_trl("lapo_discovery", TOKENIZER, verifier=Match())
    call(reward, prompt_id=["q"] * 4)
    assert reward.memory.get("q", "target") == 3
    other = for_trl("lapo_discovery", TOKENIZER, verifier=Match())
    other.load_state_dict(json.loads(json.dumps(reward.state_dict())))
    assert other.memory == reward.memory


def test_progress_comes_from_the_trainer():
    reward = for_trl({"name": "kimi", "warmup": 0.5}, TOKENIZER, verifier=Match())
    for step, value in ((4, 0), (5, 0.5)):
        assert call(reward, trainer_state=SimpleNamespace(global_step=step, max_steps=10))[0] == value


def test_metrics_are_logged_where_trl_offers_it():
    seen = {}
    call(for_trl("correctness", TOKENIZER, verifier=Match()), log_metric=seen.__setitem__)
    assert seen == {"verify/not_ended": 0, "verify/undecided": 0.25, "verify/accuracy": pytest.approx(2 / 3)}


def test_a_missing_answer_column_names_the_columns():
    reward = for_trl("correctness", TOKENIZER, answer_column="solution", verifier=Match())
    with pytest.raises(ConfigError, match="'solution'.*answer"):
        call(reward)


@pytest.mark.parametrize(("ids", "size"), [("aabb", 2), ("aaaabb", 2), ("aaa", 3), ("abab", 1), ("aaabbb", 3)])
def test_the_group_size_is_read_from_runs_of_prompts(ids, size):
    assert group_size_of(ids) == size


def test_a_plan_is_written_into_the_prompts():
    rows = Dataset.from_list([{"prompt": "1+1?", "answer": "2"}, {"prompt": "2+2?", "answer": "4"}])
    planned = with_prompting(rows, {"name": "l1", "kind": "max"})
    assert planned[0]["prompt"] == f"1+1?\nThink for maximum {planned[0]['budget']} tokens."
    assert planned[0]["prompt_id"] != planned[1]["prompt_id"]
    chat = Dataset.from_list([{"prompt": [{"role": "user", "content": "1+1?"}], "answer": "2"}])
    assert with_prompting(chat, "l1")[0]["prompt"][-1]["content"].startswith("1+1?\nThink for ")
    for plan in ("adaptthink", "lapo_target", "thinkprune"):
        with pytest.raises(ConfigError, match="[Uu]se tersely's trainer"):
            with_prompting(rows, plan)


def test_our_own_verifier_judges_by_default():
    reward = for_trl("correctness", TOKENIZER)
    try:
        assert call(reward, ("so \\boxed{4}", "so \\boxed{5}")) == [1, 0]
    finally:
        reward.close()


def test_thinking_ends_where_it_is_closed_and_a_judge_reads_the_problem():
    class Judge(Match):
        def verify_rows(self, rows, texts):
            seen.append([row["problem"] for row in rows])
            return self.verify([row["answer"] for row in rows], texts)

    seen: list = []
    encode = lambda text, add_special_tokens: {"</think>": [8, 9]}[text]
    tokenizer = SimpleNamespace(eos_token_id=0, chat_template=None, encode=encode)
    reward = for_trl("correctness", tokenizer, verifier=Judge())
    chats = [[{"role": "system", "content": "s"}, {"role": "user", "content": "2+2?"}]] * 2
    ids = [[5, 8, 9, 4, 0], [5, 8, 4, 4, 0]]
    facts = reward._facts(chats, ["4", "4"], ids, {"answer": ["4", "4"]})
    assert [fact.thinking_length for fact in facts] == [3, 5] and seen == [["2+2?", "2+2?"]]
