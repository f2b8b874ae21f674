"""Data sets with a scorer: what rows carry, what the report records, and errors before a model is loaded."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tersely.core.errors import ConfigError
from tersely.data import load_problems_with_card
from tersely.data.benchmarks import load_benchmark
from tersely.data.ids import data_fingerprint
from tersely.rl.for_trl import for_trl

OWN = "tests.support.scorers:"
TOKENIZER = SimpleNamespace(eos_token_id=0, chat_template=None)
ROWS = [{"problem": f"A divisor of {n}?", "answer": str(p), "number": n, "trace": "x"} for n, p in ((91, 7), (77, 11))]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "divisors.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    return path


def load(spec):
    return load_problems_with_card(spec, seed=0)


def test_rows_carry_what_the_scorer_needs_and_the_report_names_it(file):
    spec = {"path": str(file), "scorer": {"name": OWN + "factor", "columns": ["number"]}}
    other = {"path": "testbed", "limit": 2, "scorer": "verifier"}
    data, card = load([spec, other])
    payload = json.loads(data["scorer"][0])
    assert payload["scorer"] == OWN + "factor" and payload["row"]["number"] == 91 and "trace" not in payload["row"]
    assert data["scorer"][2] is None
    assert json.loads(card.to_json())["sources"][0]["scorer"] == {"name": OWN + "factor", "threshold": 1.0}
    assert data_fingerprint(data) == card.fingerprint
    higher = load(
        [
            {**spec, "scorer": {**spec["scorer"], "threshold": 0.5}},
            {"path": "testbed", "limit": 2, "scorer": "verifier"},
        ]
    )
    assert higher[1].fingerprint != card.fingerprint
    assert "scorer" not in load({"path": str(file)})[0].column_names


def test_a_benchmark_has_a_scorer(file, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"path: {file}\nscorer: {OWN}factor\n")
    _, data, card = load_benchmark(str(tmp_path / "mine.yaml"))
    assert json.loads(data["scorer"][1])["row"]["number"] == 77 and card.sources[0].scorer["threshold"] == 1.0


@pytest.mark.parametrize(
    ("scorer", "field"),
    [
        ("reasoning_gim", "reasoning_gym"),
        ("nowhere.at_all:f", "nowhere.at_all"),
        (OWN + "factr", "factr"),
        ({"name": OWN + "factor", "columns": ["count"]}, "'count'"),
        ({"name": OWN + "factor", "threshold": "high"}, "threshold"),
    ],
)
def test_errors_name_the_field(file, scorer, field):
    with pytest.raises(ConfigError, match=field):
        load({"path": str(file), "scorer": scorer})


def test_a_scorer_that_fails_on_the_first_reference_answer_is_an_error_with_the_row(file):
    file.write_text(json.dumps({**ROWS[0], "answer": "text"}) + "\n")
    with pytest.raises(ConfigError, match="row 0.*expected a number"):
        load({"path": str(file), "scorer": OWN + "hostile"})


def test_a_refused_reference_answer_is_a_bad_one(file):
    with file.open("a") as lines:
        lines.write(json.dumps({**ROWS[0], "problem": "Another?", "answer": "8"}) + "\n")
    spec = {"path": str(file), "scorer": OWN + "factor"}
    with pytest.raises(ConfigError, match="refuses"):
        load(spec)
    _, card = load({**spec, "bad_golds": "drop", "max_bad_golds": 0.5})
    assert card.sources[0].dropped["bad golds"] == 1


def test_a_task_of_reasoning_gym_has_its_scorer_through_the_reward_function():
    pytest.importorskip("reasoning_gym")
    data, card = load({"path": "reasoning_gym:countdown", "limit": 2})
    assert card.sources[0].scorer == {"name": "reasoning_gym", "threshold": 1.0}
    target = json.loads(data["scorer"][0])["row"]["metadata"]["target"]
    answers = [data["answer"][0], f"0 + ({data['answer'][0]})".replace("0 + ", ""), str(target), "12"]
    reward = for_trl({"name": "correctness"}, TOKENIZER)
    texts = [f"So it is $\\boxed{{{answer}}}$." for answer in answers]
    columns = {name: [data[name][0]] * len(texts) for name in ("answer", "prompt_id", "scorer")}
    prompts = [data["prompt"][0]] * len(texts)
    try:
        paid = reward(prompts, texts, [[1, 0]] * len(texts), **columns)
    finally:
        reward.close()
    assert paid == [1.0, 1.0, 0.0, 0.0]  # the target itself is no solution


def test_the_reward_function_takes_a_scorer_of_ones_own():
    reward = for_trl({"name": "correctness"}, TOKENIZER, scorer={"name": OWN + "factor", "columns": ["number"]})
    columns = {"answer": ["7"] * 3, "number": [91] * 3}
    try:
        paid = reward(["A divisor of 91?"] * 3, ["\\boxed{13}", "\\boxed{7}", "\\boxed{91}"], [[1, 0]] * 3, **columns)
    finally:
        reward.close()
    assert paid == [1.0, 1.0, 0.0]
    with pytest.raises(ConfigError, match="number"):
        reward(["p"], ["7"], [[1, 0]], answer=["7"])
    with pytest.raises(ConfigError, match="reasoning_gym"):
        for_trl({"name": "correctness"}, TOKENIZER, scorer="reasoning")


@pytest.mark.parametrize("task", ["game_of_life_halting", "coin_flip"])
def test_the_verifier_grades_tasks_whose_scorer_accepts_anything(task):
    pytest.importorskip("reasoning_gym")
    data, card = load({"path": f"reasoning_gym:{task}", "limit": 2})
    assert card.sources[0].scorer is None and "scorer" not in data.column_names
    assert load({"path": f"reasoning_gym:{task}", "limit": 2, "scorer": "reasoning_gym"})[1].sources[0].scorer


def test_a_task_without_a_reference_answer_is_loaded():
    pytest.importorskip("reasoning_gym")
    data, _ = load({"path": "reasoning_gym:graph_color", "limit": 3})
    assert data["answer"] == ["", "", ""] and all(data["scorer"])
