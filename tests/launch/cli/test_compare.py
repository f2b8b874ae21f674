import json

import pytest

from tersely.eval.compare import compare
from tersely.eval.records import RecordWriter
from tersely.launch.cli.compare import main


def test_table_and_sentence(runs, capsys):
    assert main([str(folder) for folder in runs]) == 0
    out = capsys.readouterr().out
    (c,) = compare(*runs)
    assert c["verdict"] in out and "AES(1,3,5)" in out and f"{c['aes']['score']:.2f}" in out
    assert (c["base"], c["run"]) == ("base", "short")


def test_correct_answers_of_truncated_samples_are_shown_wherever_accuracy_is(tmp_path, capsys, record):
    from tersely.eval.evaluator import summary
    from tersely.eval.report.write import write_report

    for name, cut in (("base", 0), ("loops", 3)):
        with RecordWriter(tmp_path / name / "records.jsonl") as writer:
            for q in range(8):
                for j in range(4):
                    writer.write(record(name, problem_id=f"p{q}", sample=j, truncated=j < cut))
    base, loops = tmp_path / "base", tmp_path / "loops"
    found = summary(loops / "records.jsonl", "sums")
    assert (found["accuracy"], found["accuracy_ended"], found["truncated"]) == (1.0, 0.25, 0.75)
    (c,) = compare(base, loops)
    assert (c["accuracy_change"], c["accuracy_ended_change"], c["not_ended"]) == (0.0, -0.75, [0.75, 0.0])
    assert main([str(base), str(loops)]) == 0
    words = "75.0 % of the samples of loops and 0.0 % of base are correct but truncated"
    assert words in capsys.readouterr().out
    path = write_report([base, loops], None, tmp_path / "report")
    assert words in path.with_name("report.md").read_text() and words in path.with_name("report.html").read_text()
    entry = json.loads(path.read_text())["runs"][1]["benchmarks"]["sums"]
    assert (entry["accuracy"], entry["accuracy_ended"]) == (1.0, 0.25)
    assert main([str(base), str(base)]) == 0 and "truncated" not in capsys.readouterr().out


def test_no_shared_problem(runs, tmp_path, capsys, record):
    with RecordWriter(tmp_path / "z" / "records.jsonl") as writer:
        writer.write(record("z", benchmark="sums", problem_id="elsewhere"))
    assert main([str(runs[0]), str(tmp_path / "z")]) == 2
    said = capsys.readouterr().err
    assert "problem of sums" in said and "p0" in said and "elsewhere" in said


def test_no_shared_benchmark(runs, tmp_path, capsys, record):
    with RecordWriter(tmp_path / "z" / "records.jsonl") as writer:
        writer.write(record("z", benchmark="other"))
    with pytest.raises(ValueError, match="no common benchmark"):
        compare(runs[0], tmp_path / "z")
    assert main([str(runs[0]), str(tmp_path / "z")]) == 2
    assert "no common benchmark" in capsys.readouterr().err
