import json

import pytest

from tersely.eval.records import RecordWriter
from tersely.eval.report.write import load_all, write_report
from tersely.launch.cli.report import main, watch


def test_files_and_return_value(runs, tmp_path):
    path = write_report(list(runs), "base", tmp_path / "out")
    assert path == tmp_path / "out" / "report.json"
    data = json.loads(path.read_text())
    assert [r["name"] for r in data["runs"]] == ["base", "short"] and data["base"] == "base"
    text = path.with_name("report.md").read_text()
    assert data["comparisons"][0]["verdict"] in text and "| short |" in text
    assert not [p for p in path.parent.iterdir() if "part" in p.name]


def test_same_input_same_report(runs, tmp_path):
    one, two = (write_report(list(runs), None, tmp_path / name).read_text() for name in ("a", "b"))
    assert one == two


def test_base_by_directory_by_name_or_from_outside(runs, tmp_path):
    base, short = runs
    for choice in ("short", short):
        assert json.loads(write_report([base, short], choice, tmp_path / "o").read_text())["base"] == "short"
    data = json.loads(write_report([short], base, tmp_path / "o").read_text())
    assert data["base"] == "base" and len(data["comparisons"]) == 1
    assert json.loads(write_report([short], None, tmp_path / "o").read_text())["comparisons"] == []
    with pytest.raises(ValueError, match="'nobody'.*base, short"):
        write_report([base, short], "nobody", tmp_path / "o")
    with pytest.raises(ValueError, match="runs.*an empty list"):
        write_report([], None, tmp_path / "o")


def test_runs_of_one_name_are_with_unique_names(tmp_path, write_run):
    folders = [write_run(tmp_path / name, "same", problems=3) for name in ("x", "y")]
    assert [r.name for r in load_all(folders)] == ["same", "same (y)"]


def test_any_number_of_runs_of_one_name(tmp_path, write_run):
    folders = [write_run(tmp_path / a / "same", "same", problems=2) for a in "xyz"]
    names = [run["name"] for run in json.loads(write_report(folders, None, tmp_path / "o").read_text())["runs"]]
    assert names == ["x/same", "y/same", "z/same"]
    data = json.loads(write_report(folders[:1], folders[1], tmp_path / "o").read_text())
    assert data["base"] == "y/same" and data["comparisons"][0]["run"] == "x/same"
    twice = load_all([folders[0], folders[0]])
    assert [run.name for run in twice] == ["same", "same (2)"]


@pytest.mark.parametrize("kind", ["eval", "results", "eval/math"])
def test_runs_named_by_their_folder_are_named_by_what_differs(tmp_path, write_run, kind):
    for name in ("alp", "grpo"):
        write_run(tmp_path / name / kind, kind.rpartition("/")[2], problems=2)
    found = {run.name for run in load_all([tmp_path / name / kind for name in ("alp", "grpo")])}
    assert len(found) == 2 and all(any(method in name for name in found) for method in ("alp", "grpo"))
    assert "eval" not in found


def test_a_run_in_training_is_watched(tmp_path, capsys, write_run, monkeypatch):
    run = tmp_path / "alp"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1, "entropy": 0.5}\n')
    assert main([str(run), "--out", str(tmp_path / "o")]) == 0
    page = tmp_path / "o" / "report.html"
    assert "Entropy" in page.read_text() and "No evaluation yet" in page.read_text()
    assert 'http-equiv="refresh"' not in page.read_text()
    steps = iter([lambda: None, lambda: write_run(run, "alp", problems=2)])
    monkeypatch.setattr("tersely.launch.cli.report.time.sleep", lambda seconds: next(steps)())
    watch([str(run)], None, str(tmp_path / "o"), 30, times=2)
    assert '<meta http-equiv="refresh" content="30">' in page.read_text() and "alp" in page.read_text()
    assert capsys.readouterr().out.count("report.html") == 2


def test_names_cannot_break_the_markdown(tmp_path, record):
    with RecordWriter(tmp_path / "records.jsonl") as writer:
        writer.write(record(run="<b>|x|\n# y", benchmark="a|b`"))
    text = write_report([tmp_path], None, tmp_path / "o").with_name("report.md").read_text()
    assert "<b>" not in text and "&lt;b\\>\\|x\\| # y" in text


def test_command_line(runs, tmp_path, capsys):
    assert main([*map(str, runs), "--base", "base", "--out", str(tmp_path / "o")]) == 0
    out = capsys.readouterr().out
    assert "short against base on sums: -50 % tokens" in out or "% tokens [" in out
    assert str(tmp_path / "o" / "report.json") in out
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "no records.jsonl" in capsys.readouterr().err
