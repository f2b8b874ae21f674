"""`tersely preflight` on the embedded model: real rollouts, and recipes that cannot work."""

from __future__ import annotations

import json
import re

import pytest

from tersely.launch.cli import preflight
from tersely.launch.cli.main import main


def found(capsys, *arguments: str) -> tuple[int, dict]:
    status = preflight.main(["testbed/alp", "--json", *arguments])
    return status, json.loads(capsys.readouterr().out)


def lines(read: dict, level: str) -> list[str]:
    return [f"{f['subject']}: {f['text']}" for f in read["findings"] if f["level"] == level]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def test_a_recipe_that_works_gets_its_plan_time_and_cost(capsys, tmp_path):
    status, read = found(capsys, "--rollouts", "32", "--price-per-hour", "3")
    assert status == 0 and read["failed"] == 0, lines(read, "fail")
    subjects = {f["subject"] for f in read["findings"]}
    assert {
        "template",
        "tokens",
        "lengths",
        "memory",
        "disk",
        "truncation",
        "pass rate",
        "groups",
        "verifier",
    } <= subjects
    plan, tokens, time, cost = read["plan"]
    assert "60 steps in 60 generation batches of 128 rollouts" in plan and "epochs of 4096 problems" in plan
    assert "on 32 rollouts" in time and "at 3 per hour" in cost and "sampled" in tokens
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_a_plan_for_another_machine_takes_the_lengths_from_here_and_the_speed_from_arithmetic(capsys):
    asked = ("--rollouts", "32", "--gpus", "8", "--gpu-memory", "80", "--bf16", "true")
    status, read = found(capsys, *asked, "--deadline_seconds", "10")
    assert status == 0, lines(read, "fail")
    assert any("the GPU has 80" in line and "zero2" in line for line in lines(read, "ok"))
    assert any("on 8 ranks" in line for line in read["plan"]) and any("8 x H100" in line for line in read["plan"])
    assert any("from 32 rollouts" in line for line in read["plan"])
    assert any("deadline_seconds is 10" in line for line in lines(read, "ok"))
    assert not any("without a GPU" in line for line in lines(read, "warn")), "this machine is not that one"


def test_ranks_that_the_run_will_have_count_in_the_arithmetic_and_start_nothing(capsys):
    status, read = found(capsys, "--rollouts", "16", "--processes", "2", "--micro_batch", "32")
    assert status == 0, lines(read, "fail")
    assert any("ranks 2" in line for line in lines(read, "ok"))


def test_a_cap_that_stops_everything_is_refused_unless_forced(capsys):
    status, read = found(capsys, "--rollouts", "16", "--max_completion_length", "8")
    assert status == 1
    assert any("cap of 8" in line for line in lines(read, "fail"))
    assert found(capsys, "--rollouts", "16", "--max_completion_length", "8", "--force")[0] == 0


def test_a_cap_beyond_the_context_is_refused_before_any_rollout(capsys):
    status, read = found(capsys, "--max_completion_length", "4096")
    assert status == 1 and any("the model's context of 1024" in line for line in lines(read, "fail"))
    assert read["plan"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--micro_batch", "7"], "micro_batch.*7"),
        (["--learning_rat", "1"], "'learning_rate'"),
        (["--processes", "3"], "3 ranks"),
        (["--reward", "alpp"], "'alp'"),
    ],
)
def test_an_invalid_recipe_is_an_error_as_in_train(capsys, options, words):
    assert main(["preflight", "testbed/alp", "--rollouts", "0", *options]) == 2
    assert re.search(words, capsys.readouterr().err)


@pytest.mark.parametrize("command", ["preflight", "train"])
def test_an_unknown_recipe_is_an_error_of_the_command(capsys, command):
    assert main([command, "testbed/alpp"]) == 2
    assert "'testbed/alp'" in capsys.readouterr().err


def test_a_file_that_is_missing_is_a_finding(capsys):
    status, read = found(capsys, "--rollouts", "0", "--dataset", "{path: gone.jsonl}")
    assert status == 1 and any("gone.jsonl" in line for line in lines(read, "fail"))


@pytest.mark.parametrize("options", [["--rollouts", "-1"], ["--sharding", "zero9"], ["--processes", "0"]])
def test_options_out_of_range(options, capsys):
    with pytest.raises(SystemExit):
        preflight.main(["testbed/alp", *options])
    assert options[0] in capsys.readouterr().err


def test_the_words_for_people(capsys):
    assert preflight.main(["testbed/alp", "--rollouts", "0"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "all checks passed"
    assert "memory" in printed and "parameters" in printed
