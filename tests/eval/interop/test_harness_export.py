import json

import pyarrow.parquet as parquet
import pytest

from tersely.eval.interop.harness_export import export_lighteval, export_lm_eval
from tersely.eval.interop.harness_import import import_lighteval, import_lm_eval
from tersely.eval.records import RecordReader, RecordWriter


def rows(path):
    return sorted((json.dumps(r, sort_keys=True) for _, r in RecordReader(path)))


@pytest.mark.parametrize("export, back", [(export_lm_eval, import_lm_eval), (export_lighteval, import_lighteval)])
def test_there_and_back_again(runs, tmp_path, export, back):
    paths = export(runs[1], tmp_path / "out")
    assert len(paths) == 1 and "sums" in paths[0].name
    assert rows(back(paths, tmp_path / "back", "short")) == rows(runs[1] / "records.jsonl")


def test_columns_and_scores_are_lightevals(runs, tmp_path, record):
    with RecordWriter(runs[0] / "records.jsonl") as writer:
        writer.write(record(benchmark="a|b/c", verdict="undecided", text="\udc80"))
    first, second = sorted(export_lighteval(runs[0], tmp_path / "out"))
    assert first.name.startswith("details_a-b-c|0_") and second.name.startswith("details_sums|0_")
    assert parquet.read_table(first).to_pylist()[0]["metric"]["extractive_match"] is None
    table = parquet.read_table(second).to_pylist()
    assert set(table[0]) == {"doc", "metric", "model_response"} and len(table) == 40
    correct = [
        r["correct"]
        for _, r in RecordReader(runs[0] / "records.jsonl")
        if r["problem_id"] == "p3" and r["benchmark"] == "sums"
    ]
    assert table[3]["metric"]["avg@n:n=8"] == pytest.approx(sum(correct) / 8)
    assert [len(t) for t in table[3]["model_response"]["output_tokens"]] == [
        r["tokens"]
        for _, r in RecordReader(runs[0] / "records.jsonl")
        if r["problem_id"] == "p3" and r["benchmark"] == "sums"
    ]


@pytest.mark.parametrize("export, back", [(export_lm_eval, import_lm_eval), (export_lighteval, import_lighteval)])
def test_nothing_is_lost_on_the_way(tmp_path, record, export, back):
    more = {
        "first_correct": 3,
        "second": "correct",
        "wall_s": 0.5,
        "budget": 64.0,
        "phases": [["sample", 3]],
        "mine": 1,
    }
    with RecordWriter(tmp_path / "run" / "records.jsonl") as writer:
        for i, text in enumerate(("a\u2028b\u2029c\x85d\x0be\x1cf\r\ng\n", "", "</think>\u00e9")):
            writer.write(record("base", sample=i, text=text) | more)
    paths = export(tmp_path / "run", tmp_path / "out")
    assert rows(back(paths, tmp_path / "back", "base")) == rows(tmp_path / "run" / "records.jsonl")


@pytest.mark.parametrize("export, back", [(export_lm_eval, import_lm_eval), (export_lighteval, import_lighteval)])
def test_records_with_nothing_but_what_is_needed(tmp_path, export, back):
    line = {"benchmark": "b", "problem_id": "p", "tokens": 4}
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line | {"correct": c}) + "\n" for c in (1, 0, None)))
    path = back(export(tmp_path / "records.jsonl", tmp_path / "out"), tmp_path / "back", "x")
    found = [(r["sample"], r["verdict"], r["tokens"]) for _, r in RecordReader(path)]
    assert found == [(0, "correct", 4), (1, "incorrect", 4), (2, "undecided", 4)]


def test_what_cannot_be_exported_is_said(tmp_path, record):
    with RecordWriter(tmp_path / "s" / "records.jsonl") as writer:
        writer.write(record(strategy={"name": "concise"}))
    with pytest.raises(ValueError, match="vanilla.*concise"):
        export_lm_eval(tmp_path / "s", tmp_path / "out")
    with RecordWriter(tmp_path / "t" / "records.jsonl") as writer:
        writer.write(record("one"))
        writer.write(record("two"))
    with pytest.raises(ValueError, match="one, two"):
        export_lighteval(tmp_path / "t", tmp_path / "out")
