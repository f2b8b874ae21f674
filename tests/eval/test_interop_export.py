import json

import pyarrow.parquet as parquet
import pytest

from tersely.eval.interop import import_lighteval, import_lm_eval
from tersely.eval.interop_export import export_lighteval, export_lm_eval
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
