"""Files in data/ were written by lm-evaluation-harness 0.4.13 (its dummy model, two repeats, two filters) and by lighteval
0.13.0 (its evaluation tracker)."""

import json
from pathlib import Path

import numpy as np
import pytest

from tersely.eval.interop.harness_import import import_lighteval, import_lm_eval
from tersely.eval.report.write import write_report
from tersely.eval.run_arrays import load_runs

DATA = Path(__file__).parents[1] / "data"
LM_EVAL = DATA / "lm_eval_samples_sums.jsonl"
LIGHTEVAL = DATA / "lighteval_details_sums.parquet"
LIGHTEVAL_N = DATA / "lighteval_details_sums_n.parquet"


def words(text):
    return len(text.split())


def only(path):
    (run,) = load_runs(path.parent)
    return run, next(iter(run.benchmarks.values()))


def test_lm_eval(tmp_path):
    path = import_lm_eval([LM_EVAL], tmp_path / "run", "dummy", words)
    run, b = only(path)
    assert run.name == "dummy" and b.tokens.shape == (6, 2) and (b.tokens == 1).all()
    np.testing.assert_array_equal(b.correct[:, 0], [0, 1, 0, 1, 0, 1])
    record = run.record("lm_eval_samples_sums", 1, 0)
    assert (record["problem"], record["gold"], record["text"]) == ("1+1?", "lol", "lol") and not record["truncated"]
    assert write_report([path.parent], None, tmp_path / "report").exists()


def test_lm_eval_names_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="count_tokens"):
        import_lm_eval([LM_EVAL], tmp_path, "x")
    with pytest.raises(ValueError, match=r"filter.*'last'.*all, first"):
        import_lm_eval([LM_EVAL], tmp_path, "x", words, filter="last")
    with pytest.raises(ValueError, match="metric.*acc_norm.*exact_match"):
        import_lm_eval([LM_EVAL], tmp_path, "x", words, metric="acc_norm")
    assert not (tmp_path / "records.jsonl").exists()
    import_lm_eval([LM_EVAL], tmp_path, "x", words, filter="all", metric="exact_match")
    with pytest.raises(ValueError, match="exists"):
        import_lm_eval([LM_EVAL], tmp_path, "x", words)


def test_a_filter_that_picked_one_of_several_texts_decides_that_one(tmp_path):
    row = json.loads(LM_EVAL.read_text().splitlines()[0])
    path = tmp_path / "samples_x.jsonl"
    for score, expected in ((1.0, [1, np.nan]), (0.0, [0, np.nan])):
        path.write_text(json.dumps(row | {"resps": [["a b", "c"]], "filtered_resps": ["a b"], "exact_match": score}))
        _, b = only(import_lm_eval([path], tmp_path / f"out{score}", "m", words))
        np.testing.assert_array_equal(b.correct, [expected])
        np.testing.assert_array_equal(b.tokens, [[2, 1]])
    path.write_text(json.dumps(row | {"resps": [["a", "c"]], "filtered_resps": [["a", "c"]], "exact_match": 1.0}))
    assert np.isnan(only(import_lm_eval([path], tmp_path / "any", "m", words))[1].correct).all()


def test_the_task_is_in_the_file_name(tmp_path):
    named = tmp_path / "samples_gsm8k_cot_2026-11-21T05-23-06.1.jsonl"
    named.write_bytes(LM_EVAL.read_bytes())
    run, _ = only(import_lm_eval([named], tmp_path / "run", "m", words))
    assert list(run.benchmarks) == ["gsm8k_cot"]


def test_lighteval_counts_its_own_tokens(tmp_path):
    run, b = only(import_lighteval([LIGHTEVAL], tmp_path, "tiny"))
    assert list(run.benchmarks) == ["sums|0"] and b.problem_ids == ["0", "1", "2"]
    np.testing.assert_array_equal(b.tokens[:, 0], [10, 11, 12])
    np.testing.assert_array_equal(b.correct[:, 0], [1, 1, 0])
    assert np.isnan(b.thinking_tokens).all()
    _, counted = only(import_lighteval([LIGHTEVAL], tmp_path / "b", "tiny", words))
    assert (counted.thinking_tokens == 1).all()


def test_a_mean_over_samples_decides_only_when_they_agree(tmp_path):
    _, b = only(import_lighteval([LIGHTEVAL_N], tmp_path / "a", "tiny"))
    np.testing.assert_array_equal(b.correct, [[1, 1], [np.nan, np.nan], [0, 0]])
    np.testing.assert_array_equal(b.truncated, [[0, 1]] * 3)
    _, graded = only(
        import_lighteval(
            [LIGHTEVAL_N],
            tmp_path / "b",
            "tiny",
            grade=lambda gold, text, row: "correct" if gold in text else "no_answer",
        )
    )
    np.testing.assert_array_equal(graded.correct, [[1, 0]] * 3)


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "samples_x.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="no samples"):
        import_lm_eval([tmp_path / "samples_x.jsonl"], tmp_path / "run", "x", words)


def test_lm_eval_rows_we_write_have_the_columns_it_writes(runs, tmp_path):
    from tersely.eval.interop.harness_export import export_lm_eval

    (path,) = export_lm_eval(runs[0], tmp_path / "out")
    theirs = json.loads(LM_EVAL.read_text().splitlines()[0])
    ours = json.loads(path.read_text().splitlines()[0])
    assert set(theirs) <= set(ours) and all(type(theirs[k]) is type(ours[k]) for k in theirs)


def sample(**changes):
    """A line of a samples file."""
    row = {"doc": {"question": "1+1?"}, "doc_id": 0, "resps": [["2"]], "target": "2", "exact_match": 1.0}
    return json.dumps(row | changes).encode() + b"\n"


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "samples_x.jsonl").write_bytes("\ufeff".encode() + sample())
    path = import_lm_eval([tmp_path / "samples_x.jsonl"], tmp_path / "run", "x", len)
    assert json.loads(path.read_text())["verdict"] == "correct"


@pytest.mark.parametrize(
    "content, words",
    [
        (b"doc_id,target\n1,2\n", r"samples_x\.jsonl:1: invalid JSON"),
        (b"[1]\n", r"samples_x\.jsonl:1.*lm-evaluation-harness"),
        (b'{"doc": {}, "doc_id": 0}\n', "resps, target missing"),
        (b'{"doc": {}, "doc_id": 0, "target": "1", "resps": "a"}\n', r"resps \(a list\)"),
        (b'{"doc": {}, "doc_id": 0, "target": "1", "resps": [[["-1.5", "False"]]], "acc": 1.0}\n', "log-likelihoods"),
        *(
            (sample(**{key: value}), rf":1: {key}: got .*; expected")
            for key, value in [
                *(("target", target) for target in (None, [], {"a": 1}, float("nan"), [None], ["1", {}])),
                *((key, value) for key in ("filter", "doc_hash") for value in ({"a": 1}, 3)),
                *(("doc_id", number) for number in (None, {})),
                *(("tersely", own) for own in ("x", [{}], {"a": 1})),
            ]
        ),
        *((sample(resps=resps), ":1: resps") for resps in ([], [[]], [["a \ud83d"]])),
        *(
            (
                sample(arguments={"gen_args_0": {"arg_0": "p", "arg_1": {"max_gen_toks": cap}}}),
                "max_gen_toks: got",
            )
            for cap in ("x", -3, 0, 1.5, True)
        ),
        (b"\xff\xfe\x00", "invalid JSON"),
        (
            b'{"doc": {}, "doc_id": 0, "target": "1", "resps": [["a"]], "target": "2"}\n',
            ":1: .*duplicate key 'target'",
        ),
    ],
)
def test_files_that_are_not_lm_evals(tmp_path, content, words):
    (tmp_path / "samples_x.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        import_lm_eval([tmp_path / "samples_x.jsonl"], tmp_path / "run", "x", words)
    assert not (tmp_path / "run" / "records.jsonl").exists()


def test_files_that_are_not_lightevals(tmp_path):
    import pyarrow
    import pyarrow.parquet as parquet

    with pytest.raises(ValueError, match="not a parquet file"):
        import_lighteval([LM_EVAL], tmp_path / "run", "x", words)
    parquet.write_table(pyarrow.table({"example": ["a"], "predictions": ["b"]}), tmp_path / "old.parquet")
    with pytest.raises(ValueError, match="example, predictions"):
        import_lighteval([tmp_path / "old.parquet"], tmp_path / "run", "x", words)


def test_a_problem_that_is_there_twice_is_kept_twice(tmp_path):
    line = LM_EVAL.read_text().splitlines()[0]
    (tmp_path / "samples_x.jsonl").write_text(f"{line}\n{line}\n")
    _, b = only(import_lm_eval([tmp_path / "samples_x.jsonl"], tmp_path / "run", "m", words))
    assert len(b.problem_ids) == 2
    with pytest.raises(ValueError, match="got 2 records.*one"):
        import_lm_eval([LM_EVAL, LM_EVAL], tmp_path / "other", "m", words)


def own_rows(folder, rows):
    path = folder / "samples_mine_2026-01-01T00.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(target, resps, doc_id=0, filter="strict", score=0.0):
    return {
        "doc_id": doc_id, "doc": {"question": "q"}, "target": target, "resps": [resps], "filtered_resps": resps,
        "filter": filter, "exact_match": score,
    }  # fmt: skip


def test_either_filter_and_which_was_used(tmp_path):
    rows = [row("7", ["7"]), row("7", ["7"], filter="flexible", score=1.0)]
    path = own_rows(tmp_path, rows)
    for wanted, used, verdict in ((None, "strict", "incorrect"), ("flexible", "flexible", "correct")):
        out = tmp_path / used
        import_lm_eval([path], out, "r", len, filter=wanted)
        card = json.loads((out / "run.json").read_text())
        assert card["imported"]["filters"][path.name].startswith(f"{used} (others: ")
        assert json.loads((out / "records.jsonl").read_text())["verdict"] == verdict


def test_list_targets_are_graded_as_any_of_them(tmp_path):
    grade = lambda gold, text, row: "correct" if gold == text else "incorrect"  # noqa: E731
    rows = [row(["7", "seven"], ["seven"]), row(["7", "seven"], ["8"], doc_id=1)]
    path = import_lm_eval([own_rows(tmp_path, rows)], tmp_path / "o", "r", len, grade=grade)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["verdict"] for r in found] == ["correct", "incorrect"] and found[0]["gold"] == "7 or seven"


def test_one_null_response_is_an_empty_text_and_numbers_are_refused(tmp_path):
    rows = [row("7", [None]), row("7", ["7"], doc_id=1, score=1.0)]
    path = import_lm_eval([own_rows(tmp_path, rows)], tmp_path / "o", "r", len)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert (found[0]["text"], found[0]["tokens"], found[0]["verdict"]) == ("", 0, "incorrect")
    with pytest.raises(ValueError, match="log-likelihoods"):
        import_lm_eval([own_rows(tmp_path, [row("7", [[-1.5, False]])])], tmp_path / "p", "r", len)
