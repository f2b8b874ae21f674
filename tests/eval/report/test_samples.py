import pytest

from tersely.eval.records import RecordWriter
from tersely.eval.report.samples import split_text, worst_samples
from tersely.eval.run_arrays import load_runs


def write(folder, *records):
    with RecordWriter(folder / "records.jsonl") as writer:
        for r in records:
            writer.write(r)
    return load_runs(folder)[0]


def test_lost_problems_first_then_the_most_redundant(tmp_path, record):
    base = write(tmp_path / "a", *(record("a", problem_id=p, sample=j) for p in "pqrs" for j in (0, 1)))
    run = write(
        tmp_path / "b",
        record("b", problem_id="p", sample=0, verdict="incorrect", tokens=10),
        record("b", problem_id="p", sample=1),
        record("b", problem_id="q", sample=0, verdict="incorrect", tokens=5),
        record("b", problem_id="q", sample=1, verdict="incorrect", tokens=7),
        record("b", problem_id="r", tokens=90, first_correct=10),
        record("b", problem_id="s", tokens=90, first_correct=80),
    )
    worst = worst_samples(run, base)
    assert [(w["problem_id"], w["verdict"], w["sides"][1]["tokens"]) for w in worst] == [
        ("q", "incorrect", 7),
        ("p", "incorrect", 10),
        ("r", "correct", 90),
        ("s", "correct", 90),
    ]
    assert [side["name"] for side in worst[0]["sides"]] == ["a", "b"] and worst[0]["sides"][0]["verdict"] == "correct"
    assert (worst[0]["sides"][1]["solved"], worst[0]["sides"][1]["samples"]) == (0, 2)
    assert len(worst_samples(run, None)[0]["sides"]) == 1


def test_twenty_at_most(tmp_path, record):
    base = write(tmp_path / "a", *(record("a", problem_id=f"p{i}") for i in range(30)))
    run = write(tmp_path / "b", *(record("b", problem_id=f"p{i}", verdict="no_answer") for i in range(30)))
    assert len(worst_samples(run, base)) == 20


@pytest.mark.parametrize(
    "text, thinking, answer",
    [
        (
            "<think>\nx = 7. wait</think>\nso \\boxed{7}",
            [("<think>\nx = 7", False), (". wait</think>", True)],
            [("so \\boxed{7}", False)],
        ),
        ("hm</think>\nx = 7. Indeed.", [("hm</think>", False)], [("x = 7", False), (". Indeed.", True)]),
        ("<think> never ends", [("<think> never ends", False)], []),
        ("x = 8", [], [("x = 8", False)]),
        ("", [], []),
    ],
)
def test_cutting(text, thinking, answer):
    assert split_text({"text": text, "gold": "7"}, 1.0, 1000) == (thinking, answer)


def test_a_prefilled_think_that_was_cut_off_is_thinking():
    record = {"text": "hm hm", "gold": "7", "tokens": 9, "thinking_tokens": 9, "truncated": True}
    assert split_text(record, 0.0, 100) == ([("hm hm", False)], [])
    assert split_text(record | {"truncated": False}, 0.0, 100) == ([], [("hm hm", False)])


def test_long_and_odd_texts_are_made_fit():
    (piece,), _ = split_text({"text": "<think>" + "a" * 5000 + "\x00\ud800", "gold": "7"}, 0.0, 100)
    assert len(piece[0]) < 170 and "characters left out" in piece[0] and piece[0].endswith("\ufffd\ufffd")
