"""The script of `make gpu`, run on the CPU; and what it reports of checks that fail, hang or say nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu.py"
spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
gpu = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu)


@pytest.mark.slow
@pytest.mark.e2e
def test_checks_run_on_a_cpu_and_leave_one_file(tmp_path, monkeypatch, warm_python):
    out = tmp_path / "report.md"
    arguments = ["--cpu", "--only", "engine_transformers,train_dapo", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    monkeypatch.setattr(sys, "executable", warm_python)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 20)
    monkeypatch.chdir(tmp_path)
    assert gpu.main() == 0
    text = out.read_text()
    assert "| engine_transformers | ok |" in text and "| train_dapo | ok |" in text and "k" * 20 not in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("engine_x", "import sys; print('why it failed'); sys.exit(3)", "exit status 3"),
        ("engine_x", "import time; time.sleep(60)", "timed out after 1 s"),
        ("engine_x", "print('nothing')", "no result"),
        ("engine_x", "print('RESULT {\"gap\": 0.4}')", "gap is 0.4 nats per token"),
        ("memory", "print('RESULT {\"measured_over_estimate\": 2.0}')", "2.00 of the estimate"),
        ("train_x", "pass", "no result"),
    ],
)
def test_what_goes_wrong_is_a_failed_check_with_its_output(tmp_path, monkeypatch, name, code, words):
    monkeypatch.setattr(gpu, "LIMIT_S", dict.fromkeys(gpu.LIMIT_S, 1 if "sleep" in code else 60))
    found = gpu.run_check(name, ["-c", code], dict(os.environ), tmp_path)
    assert found["status"] == "failed" and words in found["line"]
    assert f"| {name} | failed |" in gpu.report([found])
    if "why" in code:
        assert "why it failed" in gpu.report([found])


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"loss": 0.1, "step_time": 1.0, "mismatch/mean": 0.001}], ""),
        ([{"loss": None, "step_time": 1.0}], "not finite"),
        ([{"loss": 0.1, "step_time": 1.0, "mismatch/mean": 0.4}], "mismatch is 0.4"),
        ([{"loss": 0.1, "step_time": 1.0}], "recorded no log-prob mismatch"),
    ],
)
def test_a_training_is_judged_by_its_own_records(tmp_path, rows, problem):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "config.json").write_text("{}")
    found = gpu.judged("train_alp_vllm", "", tmp_path)[1]
    assert (problem in found) if problem else found == ""


@pytest.mark.parametrize("name", [name for name in gpu.checks() if name.startswith("train_")])
def test_every_training_is_one_that_its_recipe_allows(name, tmp_path):
    from tersely.configs.load import load_recipe
    from tersely.launch.cli.parser import overrides_from
    from tersely.rl.check import check_recipe

    _, _, recipe, *options = gpu.checks()[name]
    check_recipe(load_recipe(recipe, overrides_from([*options, "--run_dir", str(tmp_path / "run")])), 1)
