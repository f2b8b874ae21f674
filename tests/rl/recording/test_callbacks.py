from __future__ import annotations

import json
from types import SimpleNamespace

import pandas as pd

from tersely.rl.recording.callbacks import RunFiles, StepLines, eta, step_line
from tersely.rl.recording.run_files import MetricsFile

LOGS = {
    "loss": 0.01,
    "verify/accuracy": 0.5,
    "completions/mean_length": 63.4,
    "efficiency/tokens_p95": 141.0,
    "completions/clipped_ratio": 0.004,
    "groups/mixed": 0.45,
    "entropy": 0.31,
    "step_time": 1.9,
    "time/generate": 1.1,
    "time/verify_wait": 0.0,
}
STATE = SimpleNamespace(global_step=3, max_steps=10, is_world_process_zero=True)


def test_a_line_says_what_somebody_wants_to_know():
    line = step_line(3, 10, LOGS)
    assert line.startswith("step 3/10  acc 0.500  tokens 63/141 (mean/p95)  trunc 0.4%  mixed 45%")


def test_a_metric_that_is_missing_or_null_does_not_stop_a_run():
    assert "acc nan" in step_line(1, 2, {**LOGS, "verify/accuracy": None})
    assert "entropy -  loss" in step_line(1, 2, {})


def test_a_further_update_of_a_batch_does_not_pretend_to_have_rollouts():
    line = step_line(4, 10, {name: LOGS[name] for name in ("loss", "entropy", "step_time")})
    assert line == "step 4/10  the same batch  entropy 0.310  loss +0.0100  1.90 s"


def test_the_remaining_time_is_that_of_whole_generation_batches():
    """Four updates a batch: the first takes 10 s with its rollouts, the others 1 s."""
    ends = [(0, 0.0), (1, 10.0), (2, 11.0), (3, 12.0), (4, 13.0), (5, 23.0), (6, 24.0)]
    assert eta(ends[:3], 400, 4) == "", "a part of a batch says nothing of the whole"
    assert eta(ends[:5], 404, 4) == f"  ETA 0:{1300 // 60:02}:{1300 % 60:02}"
    # from step 2 to step 6
    assert eta(ends, 4006, 4) == "  ETA 3:36:40"
    assert eta(ends[:5], 4, 4) == ""


def test_plain_lines_where_there_is_no_terminal(capsys):
    lines = StepLines()
    args = SimpleNamespace(disable_tqdm=None)
    lines.on_train_begin(args, SimpleNamespace(global_step=1), None)
    for step in (2, 3):
        lines.on_step_end(args, SimpleNamespace(global_step=step, max_steps=10), None)
    lines.on_log(None, STATE, None, logs=LOGS)
    lines.on_log(None, STATE, None, logs={"train_runtime": 1.0})
    printed = capsys.readouterr().out
    assert printed.count("step 3/10") == 1 and printed.rstrip().endswith("ETA 0:00:00")


def test_metrics_and_completions_are_written_once_by_the_main_process(tmp_path):
    rows = [{"text": "<b>", "length": 3}]
    files = RunFiles(MetricsFile(tmp_path / "metrics.jsonl"), lambda: [rows.pop()] if rows else [])
    files.on_log(None, SimpleNamespace(global_step=3, is_world_process_zero=False), None, logs=LOGS)
    assert not list(tmp_path.rglob("*.parquet"))
    files.on_log(None, STATE, None, logs=LOGS)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3] and lines[0]["loss"] == 0.01
    assert pd.read_parquet(next(tmp_path.rglob("*.parquet")))["text"].tolist() == ["<b>"]
    assert rows == []
