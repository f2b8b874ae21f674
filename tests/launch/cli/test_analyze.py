"""`tersely analyze` on an evaluation, on a training run's completions, and its export as a cold start's traces."""

from __future__ import annotations

import json

import pytest

from tersely.configs.cold_start import TracesSpec
from tersely.core.errors import ConfigError
from tersely.launch.cli.analyze import main
from tersely.rl.recording.run_files import write_completions
from tersely.rl.sft.examples import Attempt
from tersely.rl.sft.self_braking import SBT
from tersely.rl.sft.traces import read_traces

REDUNDANT = "3 + 4 = 7\nWait, let me check.\n3 + 4 = 7\n7 again\n</think>\n\\boxed{7}"


def completion(step, verdict="correct", **more):
    correct = {"correct": 1.0, "incorrect": 0.0, "undecided": float("nan"), "not_ended": 0.0}[verdict]
    return {
        "prompt_id": f"p{step}",
        "correct": correct,
        "status": verdict,
        "answer": "7",
        "length": 40,
        "thinking_length": 30,
        "truncated": verdict == "not_ended",
        "text": REDUNDANT,
        "problem": "3 + 4",
        "gold": "7",
        "level": "1",
        "reward": 1.0,
    } | more


def test_an_evaluation_as_table_and_json(tmp_path, write_run, capsys):
    run = write_run(tmp_path / "base", "base", problems=10, samples=4)
    assert main([str(run)]) == 0
    table = capsys.readouterr().out
    assert "40 traces of 10 problems" in table and "pass rate" in table and "level" in table
    assert main([str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["base"]
    levels = [row for row in found["groups"] if row["by"] == "level"]
    assert [row["name"] for row in levels] == ["2", "3", "4", "5", "6"] and sum(r["traces"] for r in levels) == 40
    tokens = [row["tokens"]["mean"] for row in levels]
    assert tokens == sorted(tokens), "the run's tokens grow with the level"


def test_a_training_run_by_step(tmp_path, capsys):
    write_completions(tmp_path, 1, [completion(1), completion(1, "incorrect"), completion(2, "undecided")])
    write_completions(tmp_path, 2, [completion(2, family="sums", length=80), completion(3, "not_ended")])
    assert main([str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    steps = {row["name"]: row for row in found["groups"] if row["by"] == "step"}
    assert (found["traces"], found["problems"], found["estimated"]) == (5, 3, 2)
    assert [steps[name]["traces"] for name in ("1", "2")] == [3, 2] and steps["2"]["truncated"]["mean"] == 0.5
    assert steps["1"]["accuracy"]["traces"] == 2, "an undecided trace is not counted as incorrect"
    assert main([str(tmp_path / "completions")]) == 0 and "step" in capsys.readouterr().out


def test_the_export_is_the_traces_of_a_cold_start(tmp_path, record, write_run, capsys):
    from tersely.eval.records import RecordWriter

    run = tmp_path / "run"
    with RecordWriter(run / "records.jsonl") as writer:
        writer.write(record(text=REDUNDANT + "\ud800"))
        writer.write(record(sample=1, verdict="incorrect"))
        writer.write(record(sample=2, truncated=True))
        writer.write(record(sample=3, strategy={"name": "concise"}))
    out = tmp_path / "traces.jsonl"
    assert main([str(run), "--export", str(out)]) == 0
    assert "1 correct" in capsys.readouterr().err
    write_completions(tmp_path / "run", 1, [completion(1), completion(1, "not_ended")])
    more = tmp_path / "more.jsonl"
    assert main([str(tmp_path / "run" / "completions"), "--export", str(more)]) == 0
    traces = read_traces(TracesSpec.of(str(more)), 0, None, None)
    assert traces.known == [True] and [row["answer"] for row in traces.rows] == ["7"]
    (example,) = SBT(separator="\n")([Attempt(text, text, 40) for text in traces.texts], lambda text: len(text.split()))
    assert example.kind == "cut" and len(read_traces(TracesSpec.of(str(out)), 0, None, None).rows) == 1


def test_mistakes_name_the_place(tmp_path, write_run):
    with pytest.raises(FileNotFoundError, match="searched .*records.jsonl.* and .*completions"):
        main([str(tmp_path)])
    run = write_run(tmp_path / "base", "base", problems=2, samples=2)
    for name in ("t.json", "base"):
        with pytest.raises(ConfigError, match="--export: got .*ends in .jsonl"):
            main([str(run), "--export", str(tmp_path / name)])
    file = run / "records.jsonl"
    whole = file.read_text()
    file.write_text('{"tokens": 3}\n' + whole)
    with pytest.raises(ConfigError, match="records.jsonl:1: lacks benchmark"):
        main([str(run), "--export", str(tmp_path / "t.jsonl")])
    assert not [*tmp_path.glob("t.jsonl*")], "no half of an export"
    file.write_text("")
    with pytest.raises(ConfigError, match="no complete record"):
        main([str(run)])
    (run / "completions").mkdir()
    (run / "completions" / "completions_00001.parquet").write_text("not parquet")
    with pytest.raises(ConfigError, match="00001.parquet: unreadable"):
        main([str(run / "completions")])
