import json

import pytest

from tersely.eval.records import KEYS, RecordReader, RecordWriter, read_at


def rows(path):
    reader = RecordReader(path)
    return [r for _, r in reader], reader.dropped


def test_round_trip_with_offsets(tmp_path, record):
    path = tmp_path / "deep" / "records.jsonl"
    written = [
        record(sample=i, text=t) for i, t in enumerate(("plain", "line\nbreak \u2028", "\udc80 lone", "<script>é"))
    ]
    with RecordWriter(path) as writer:
        for r in written:
            writer.write(r)
    assert rows(path) == (written, 0)
    assert [read_at(path, offset) for offset, _ in RecordReader(path)] == written
    assert set(KEYS) == set(written[0])


@pytest.mark.parametrize("keep", [1, 20, -2])
def test_a_torn_last_line_is_dropped_counted_and_mended(tmp_path, keep, record):
    path = tmp_path / "records.jsonl"
    with RecordWriter(path) as writer:
        writer.write(record(sample=0))
        writer.write(record(sample=1))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[:first] + whole[first:][:keep])
    got, dropped = rows(path)
    assert [r["sample"] for r in got] == [0] and dropped == 1
    with RecordWriter(path) as writer:
        assert writer.cut == len(whole[first:][:keep])
        writer.write(record(sample=2))
    assert [r["sample"] for r in rows(path)[0]] == [0, 2] and rows(path)[1] == 0


def test_a_torn_only_line_and_a_long_torn_line(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a": ')
    RecordWriter(path).close()
    assert path.read_bytes() == b""
    path.write_bytes(b"{}\n" + b"x" * 200_000)
    RecordWriter(path).close()
    assert path.read_bytes() == b"{}\n"


def test_a_bad_line_in_the_middle_is_an_error_with_its_place(tmp_path, record):
    path = tmp_path / "records.jsonl"
    path.write_text("not json\n" + json.dumps(record()) + "\n")
    with pytest.raises(ValueError, match=r"records\.jsonl:1: invalid JSON"):
        rows(path)
    path.write_text(json.dumps({"benchmark": "x"}) + "\n" + json.dumps(record()) + "\n")
    with pytest.raises(ValueError, match="problem_id, tokens"):
        rows(path)


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": "many"},
        {"tokens": -1},
        {"tokens": float("nan")},
        {"tokens": float("inf")},
        {"thinking_tokens": [1]},
        {"first_correct": -1},
        {"correct": 0.5},
        {"correct": "yes"},
        {"truncated": "no"},
        {"verdict": "Right"},
        {"verdict": ["correct"]},
        {"text": ["a"]},
        {"sample": {}},
        {"strategy": ["a"]},
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error_with_its_place(tmp_path, change, record):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(record()) + "\n" + json.dumps(record() | change) + "\n")
    with pytest.raises(ValueError, match=rf"records\.jsonl:2: {next(iter(change))}: got .*; expected"):
        rows(path)


def test_another_harness_is_named_as_such(tmp_path, record):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"doc_id": 0, "doc": {}, "resps": [["a"]]}) + "\n" + json.dumps(record()) + "\n")
    with pytest.raises(ValueError, match="tersely interop import"):
        rows(path)


@pytest.mark.parametrize(
    "change, words",
    [({"verdict": "maybe"}, "verdict"), ({"correct": 0}, "correct"), ({"tokens": float("nan")}, "JSON")],
)
def test_the_writer_refuses_contradictions(tmp_path, change, words, record):
    with RecordWriter(tmp_path / "records.jsonl") as writer, pytest.raises(ValueError, match=words):
        writer.write(record() | change)


def test_the_writer_names_missing_keys(tmp_path, record):
    incomplete = record()
    del incomplete["gold"], incomplete["finish"]
    with RecordWriter(tmp_path / "records.jsonl") as writer, pytest.raises(ValueError, match="gold, finish"):
        writer.write(incomplete)


def test_fsync_happens_at_intervals(tmp_path, monkeypatch, record):
    calls = []
    monkeypatch.setattr("tersely.eval.records.os.fsync", calls.append)
    with RecordWriter(tmp_path / "a.jsonl", fsync_s=0.0) as writer:
        for i in range(5):
            writer.write(record(sample=i))
    assert len(calls) == 6
    calls.clear()
    with RecordWriter(tmp_path / "b.jsonl", fsync_s=60.0) as writer:
        for i in range(5):
            writer.write(record(sample=i))
    assert len(calls) == 1
