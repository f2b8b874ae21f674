import pytest

from tersely.eval.compare import compare, main
from tersely.eval.records import RecordWriter


def test_table_and_sentence(runs, capsys):
    assert main([str(folder) for folder in runs]) == 0
    out = capsys.readouterr().out
    (c,) = compare(*runs)
    assert c["verdict"] in out and "AES(1,3,5)" in out and f"{c['aes']['score']:.2f}" in out
    assert (c["base"], c["run"]) == ("base", "short")


def test_no_shared_problem(runs, tmp_path, capsys, record):
    with RecordWriter(tmp_path / "z" / "records.jsonl") as writer:
        writer.write(record("z", benchmark="sums", problem_id="elsewhere"))
    assert main([str(runs[0]), str(tmp_path / "z")]) == 2
    said = capsys.readouterr().err
    assert "share no problem of sums" in said and "p0" in said and "elsewhere" in said


def test_no_shared_benchmark(runs, tmp_path, capsys, record):
    with RecordWriter(tmp_path / "z" / "records.jsonl") as writer:
        writer.write(record("z", benchmark="other"))
    with pytest.raises(ValueError, match="share no benchmark"):
        compare(runs[0], tmp_path / "z")
    assert main([str(runs[0]), str(tmp_path / "z")]) == 2
    assert "share no benchmark" in capsys.readouterr().err
