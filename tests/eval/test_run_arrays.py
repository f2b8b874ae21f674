import json

import numpy as np
import pytest

from tersely.eval.records import RecordWriter
from tersely.eval.run_arrays import find_records, load_runs


def write(folder, *records):
    with RecordWriter(folder / "records.jsonl") as writer:
        for r in records:
            writer.write(r)
    return folder


def test_ragged_samples_are_packed_and_the_later_record_counts(tmp_path, record):
    write(
        tmp_path,
        record(problem_id="a", sample=1, tokens=11),
        record(problem_id="a", sample=0, tokens=10, verdict="incorrect"),
        record(problem_id="b", sample=5, tokens=20, verdict="undecided"),
        record(problem_id="a", sample=1, tokens=12),
    )
    (run,) = load_runs(tmp_path)
    b = run.benchmarks["sums"]
    np.testing.assert_array_equal(b.tokens, [[10, 12], [20, np.nan]])
    np.testing.assert_array_equal(b.correct, [[0, 1], [np.nan, np.nan]])
    assert run.duplicates == 1 and run.name == "base" and b.problem_ids == ["a", "b"]
    assert run.record("sums", 0, 1)["tokens"] == 12
    with pytest.raises(ValueError, match="no sample 1"):
        run.record("sums", 1, 1)


def test_strategies_and_run_names_become_runs(tmp_path, record):
    write(
        tmp_path,
        record(),
        record(strategy="plain", problem_id="p1"),
        record(strategy="no_thinking"),
        record(strategy="forced_answer(budget=512)"),
        record(run="other"),
    )
    assert [r.name for r in load_runs(tmp_path)] == [
        "base",
        "base + no_thinking",
        "base + forced_answer(budget=512)",
        "other",
    ]


def test_card_and_the_eval_folder_of_a_training_run(tmp_path, record):
    write(tmp_path / "alp" / "eval", record(run=None))
    (tmp_path / "alp" / "run.json").write_text(json.dumps({"commit": "abc"}))
    (run,) = load_runs(tmp_path / "alp")
    assert run.name == "alp" and run.card == {"commit": "abc"} and run.folder == tmp_path / "alp"
    (tmp_path / "alp" / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: invalid JSON"):
        load_runs(tmp_path / "alp")


def test_the_training_folder_is_found_by_the_evaluated_model(tmp_path, record):
    folder = write(tmp_path / "eval" / "alp", record(run="alp"))
    (run,) = load_runs(folder)
    assert run.training_folder() is None
    (tmp_path / "alp" / "final").mkdir(parents=True)
    (tmp_path / "alp" / "metrics.jsonl").write_text("")
    (folder / "run.json").write_text(json.dumps({"model": str(tmp_path / "alp" / "final")}))
    assert load_runs(folder)[0].training_folder() == tmp_path / "alp"


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="tersely eval"):
        find_records(tmp_path)
    (tmp_path / "records.jsonl").write_text('{"benchm')
    with pytest.raises(ValueError, match="record"):
        load_runs(tmp_path)


def test_first_right_answer_known_or_estimated(tmp_path, record):
    write(
        tmp_path,
        record(sample=0, first_correct=9),
        record(sample=1, first_correct=None),
        record(sample=2, text="x = 7 and so on" + " " * 5, tokens=40),
        record(sample=3, text="7 is mentioned", verdict="incorrect"),
    )
    b = load_runs(tmp_path)[0].benchmarks["sums"]
    np.testing.assert_array_equal(b.first_correct, [[9, np.nan, 10, np.nan]])
    assert b.estimated == 1
