import pytest

from tersely.eval.records import RecordWriter
from tersely.eval.report.text import text_rates
from tersely.eval.run_arrays import load_runs


def test_loops_and_markers(tmp_path, record):
    with RecordWriter(tmp_path / "records.jsonl") as writer:
        writer.write(record(sample=0, text="x y " * 100, tokens=200))
        writer.write(record(sample=1, text="Wait, let me check. Waiting again", tokens=50))
        writer.write(record(sample=2, text="", tokens=0))
    assert text_rates(load_runs(tmp_path)[0], "sums") == {
        "segments_mean": 1.0,
        "loop_rate": 0.5,
        "markers_per_1000_tokens": pytest.approx(12.0),
        "text_samples": 2,
    }


def test_no_more_than_a_hundred_texts_are_read(tmp_path, write_run, monkeypatch):
    run = load_runs(write_run(tmp_path, "a"))[0]
    assert text_rates(run, "sums")["text_samples"] == 100
    run.path = None
    assert text_rates(run, "sums") == {
        "segments_mean": None,
        "loop_rate": None,
        "markers_per_1000_tokens": None,
        "text_samples": 0,
    }
