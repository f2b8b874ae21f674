"""Scorers of one's own: verdicts, thresholds, and what goes wrong in them."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersely.configs.scorer import ScorerSpec
from tersely.core.errors import ConfigError
from tersely.core.protocols import complete
from tersely.core.verifier import AnswerVerifier
from tersely.rewards import Verifier
from tersely.rewards.verify.judge.judged_verifier import JudgedVerifier
from tersely.rewards.verify.scorers import grade
from tersely.rewards.verify.scorers.exact_json import decode, encode
from tersely.rewards.verify.scorers.grade import load_scorer, payload_of, status_of, try_scorer

OWN = "tests.support.scorers:"


@pytest.fixture(scope="module")
def verifier():
    with Verifier(workers=2, timeout=2, memory_mb=512) as made:
        yield made


def rows(name, count, threshold=1.0, **row):
    payload = payload_of(ScorerSpec(OWN + name, threshold), row)
    return [{"answer": "", "problem": "", "scorer": payload}] * count


def boxed(answers):
    return [f"Thus $\\boxed{{{answer}}}$." for answer in answers]


def test_any_solution_counts_beside_rows_that_the_verifier_compares(verifier):
    scored = rows("factor", 5, number=91)
    data = [*scored, {"answer": "1/2", "problem": ""}, {"answer": "3", "problem": "", "scorer": None}]
    texts = [*boxed(["7", "13", "91", "1", "seven"]), "\\boxed{0.5}", "\\boxed{4}"]
    found = verifier.verify_rows(data, texts)
    assert [v.status for v in found] == [
        "correct",
        "correct",
        "incorrect",
        "incorrect",
        "incorrect",
        "correct",
        "incorrect",
    ]
    assert found[0].path == "scorer" and found[5].path != "scorer"
    hits = verifier.stats()["cache/hits"]
    assert [v.status for v in verifier.verify_rows(data, texts)] == [v.status for v in found]
    assert verifier.stats()["cache/hits"] >= hits + 5


def test_the_threshold_decides(verifier):
    texts = ["<answer>red\nblue</answer>"] * 2
    data = rows("share", 1, 0.5, words=["red", "blue", "green"]) + rows("share", 1, 0.7, words=["red", "blue", "green"])
    assert [v.status for v in verifier.verify_rows(data, texts)] == ["correct", "incorrect"]


def test_whatever_a_scorer_does_the_others_get_their_verdicts(verifier):
    answers = ["fine", "hang", "spin", "exit", "memory", "raise", "nan", "none", "text", "else"]
    found = verifier.verify_rows(rows("hostile", len(answers)), boxed(answers))
    statuses = dict(zip(answers, (v.status for v in found), strict=True))
    assert statuses.pop("fine") == "correct" and statuses.pop("else") == "incorrect"
    assert set(statuses.values()) == {"undecided"}
    assert verifier.verify_rows(rows("hostile", 1), boxed(["fine"]))[0].status == "correct"


def test_extraction_is_that_of_the_verifier(verifier):
    texts = [
        "<think>\\boxed{7}",
        "It is not \\boxed{7}.",
        "\\boxed{}",
        "",
        "<think>7</think>The answer is 7.",
        "\x00\ud800",
    ]
    found = verifier.verify_rows(rows("factor", len(texts), number=91), texts)
    assert [v.status for v in found] == ["no_answer"] * 4 + ["correct", "no_answer"]


def test_a_judge_is_not_asked_about_a_row_with_a_scorer(verifier):
    class Judge:
        def ask(self, questions):
            assert not questions
            return []

    judged = JudgedVerifier(verifier, Judge())
    assert judged.verify_rows(rows("factor", 1, number=91), boxed(["8"]))[0].status == "incorrect"


def test_a_verifier_without_scorers_cannot_grade_such_rows():
    class Plain:
        def verify(self, golds, texts):
            return [None] * len(texts)

    with pytest.raises(ConfigError, match="scorer"):
        complete(AnswerVerifier, Plain()).verify_rows(rows("factor", 1, number=91), ["7"])


def test_calls_from_threads_and_no_process_left():
    with Verifier(workers=1) as made:
        data, texts = rows("factor", 2, number=91), boxed(["7", "8"])
        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(lambda _: [v.status for v in made.verify_rows(data, texts)], range(3)))
        assert found == [["correct", "incorrect"]] * 3
        pids = made.pids()
        assert len(pids) == 2  # the fork server and its worker
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=30)
    assert not alive


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("reasoning_gm", "reasoning_gym"),
        ("my_scorer", "module:function"),
        ("a.b:", "module:function"),
        ({"title": "x"}, "title"),
    ],
)
def test_a_name_that_is_none_is_an_error_with_the_nearest(value, field):
    with pytest.raises(ConfigError, match=field):
        ScorerSpec.of(value, "dataset x")


@pytest.mark.parametrize("threshold", [0, -1, math.nan, math.inf])
def test_a_threshold_that_pays_everything_is_an_error(threshold):
    with pytest.raises(ConfigError, match="threshold"):
        ScorerSpec.of({"name": "reasoning_gym", "threshold": threshold}, "dataset x")


@pytest.mark.parametrize("name", ["no_such_module:f", OWN + "missing", OWN + "not_a_function"])
def test_what_cannot_be_imported_or_called_is_an_error(name):
    with pytest.raises(ConfigError, match=name):
        load_scorer(name)


@pytest.mark.parametrize(("gold", "field"), [("text", "number"), ("raise", "ZeroDivisionError"), ("hang", "no score")])
def test_a_scorer_that_fails_on_the_reference_answer_is_an_error(gold, field, monkeypatch):
    monkeypatch.setattr(grade, "TRIAL_SECONDS", 0.2)
    with pytest.raises(ConfigError, match=field):
        try_scorer(ScorerSpec(OWN + "hostile"), {}, gold)


def test_a_refused_reference_answer_is_a_fault():
    assert try_scorer(ScorerSpec(OWN + "factor"), {"number": 91}, "7") is None
    assert "refuses" in (try_scorer(ScorerSpec(OWN + "factor"), {"number": 91}, "8") or "")


def test_statuses_of_scores():
    scores = [True, False, 1, 0.999, 1 - 1e-12, math.inf, -math.inf, math.nan, None, "1", [1], b"1"]
    expected = ["correct", "incorrect", "correct", "incorrect", "correct", "correct", "incorrect"] + ["undecided"] * 5
    assert [status_of(score, 1.0)[0] for score in scores] == expected


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)


@given(values)
def test_rows_arrive_as_they_were(value):
    assert decode(json.loads(json.dumps(encode(value)))) == value
