from __future__ import annotations

import json

import pandas as pd
import pytest

from tersely.rl.run_dir import MetricsFile, prepare, write_completions

CONFIG = {"method": "alp", "learning_rate": 1e-6, "max_steps": 10}


def test_a_new_run_writes_config_and_environment(tmp_path):
    path = prepare(tmp_path / "a" / "b", CONFIG, resume=False)
    assert "learning_rate" in (path / "config.yaml").read_text()
    assert "torch" in json.loads((path / "environment.json").read_text())["versions"]


def test_the_same_config_needs_resume(tmp_path):
    prepare(tmp_path, CONFIG, resume=False)
    with pytest.raises(ValueError, match="--resume"):
        prepare(tmp_path, CONFIG, resume=False)
    prepare(tmp_path, CONFIG, resume=True)


def test_another_config_is_refused_with_the_difference(tmp_path):
    prepare(tmp_path, CONFIG, resume=False)
    with pytest.raises(ValueError, match="learning_rate: 1e-06 there, 2e-06 now"):
        prepare(tmp_path, {**CONFIG, "learning_rate": 2e-6}, resume=True)


def test_more_steps_are_no_other_config(tmp_path):
    prepare(tmp_path, CONFIG, resume=False)
    prepare(tmp_path, {**CONFIG, "max_steps": 20}, resume=True)


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        prepare(tmp_path / "file" / "run", CONFIG, resume=False)


def test_metrics_past_the_resumed_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    for step in range(1, 6):
        metrics.write(step, {"loss": step * 0.1, "nothing": float("nan")})
    with open(path, "a") as file:
        file.write('{"step": 6, "lo')
    MetricsFile(path, resumed_step=3).write(4, {"loss": 9.0})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] == 9.0 and rows[0]["nothing"] is None


def test_hostile_text_is_stored(tmp_path):
    row = {"text": "a\ud800b\x00", "answer": None, "problem": "p", "gold": "g", "reward": 1.0}
    write_completions(tmp_path, 7, [row])
    table = pd.read_parquet(tmp_path / "completions" / "completions_00007.parquet")
    assert table.text[0] == "a?b\x00" and table.step[0] == 7


def test_a_run_killed_while_it_starts_again_keeps_its_metrics_and_its_config(tmp_path, monkeypatch):
    prepare(tmp_path, CONFIG, resume=False)
    file = tmp_path / "metrics.jsonl"
    MetricsFile(file).write(1, {"loss": 0.5})
    before = [(tmp_path / name).read_text() for name in ("metrics.jsonl", "config.yaml")]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    for start in (lambda: MetricsFile(file, 1), lambda: prepare(tmp_path, {**CONFIG, "max_steps": 20}, resume=True)):
        with pytest.raises(KeyboardInterrupt):
            start()
    assert [(tmp_path / name).read_text() for name in ("metrics.jsonl", "config.yaml")] == before
