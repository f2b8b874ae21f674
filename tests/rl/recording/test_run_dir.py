from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.checkpoints.resume import Start, changed_ranks
from tersely.rl.recording.run_dir import prepare
from tersely.rl.recording.run_files import MetricsFile, write_completions

CONFIG = {
    "model_name_or_path": "testbed",
    "method": "alp",
    "reward": {"name": "alp", "beta": 0.3},
    "learning_rate": 1e-6,
    "max_steps": 10,
    "max_completion_length": 64,
}


def recipe(run_dir, config):
    return Recipe.of({**config, "run_dir": str(run_dir)})


def after_a_step(path, config=CONFIG):
    """The folder of a run that got through one step."""
    prepare(recipe(path, config), resume=False)
    MetricsFile(path / "metrics.jsonl").write(1, {"loss": 0.1})
    return path


def test_a_new_run_writes_config_and_environment(tmp_path):
    path = tmp_path / "a" / "b"
    assert not prepare(recipe(path, CONFIG), resume=False).resume
    assert "learning_rate" in (path / "config.yaml").read_text()
    assert "torch" in json.loads((path / "environment.json").read_text())["versions"]


def test_the_same_config_needs_resume(tmp_path):
    after_a_step(tmp_path)
    with pytest.raises(ConfigError, match="--resume"):
        prepare(recipe(tmp_path, CONFIG), resume=False)
    start = prepare(recipe(tmp_path, CONFIG), resume=True)
    assert start.resume and not start.changes


@pytest.mark.parametrize(
    "change",
    [
        {"model_name_or_path": "other"},
        {"dataset": {"name": "gsm8k"}},
        {"seed": 7},
        {"group_size": 4},
        {"prompts_per_step": 4},
        {"updates_per_batch": 2},
        {"reward": {"name": "alp", "beta": 0.4}},
        {"loss": {"name": "clip", "clip_high": 0.4}},
        {"beta": 0.1},
        {"system_prompt": "Be brief."},
    ],
)
def test_what_makes_another_run_is_refused_with_the_difference(tmp_path, change):
    after_a_step(tmp_path)
    with pytest.raises(ConfigError, match=f"{next(iter(change))}: .* there, .* now"):
        prepare(recipe(tmp_path, CONFIG | change), resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-6},
        {"max_steps": 20},
        {"max_grad_norm": 0.5},
        {"deadline_seconds": 60.0},
        {"micro_batch": 4},
        {"gradient_checkpointing": False},
        {"save_steps": 10},
        {"vllm_gpu_memory_utilization": 0.5},
        {"verifier": {"timeout": 20}},
        {"run_name": "again"},
    ],
)
def test_what_troubleshooting_tells_people_to_change_is_free_and_recorded(tmp_path, change):
    after_a_step(tmp_path)
    start = prepare(recipe(tmp_path, CONFIG | change), resume=True)
    assert start.resume and len(start.changes) == 1
    (fact,) = start.event()["changes"].values()
    assert fact["free"] and fact["to"] in (*change.values(), 20)


@pytest.mark.parametrize(
    "change", [{"max_completion_length": 32}, {"weight_decay": 0.1}, {"warmup_steps": 5}, {"top_p": 0.9}]
)
def test_what_changes_results_is_reported(tmp_path, change):
    after_a_step(tmp_path)
    start = prepare(recipe(tmp_path, CONFIG | change), resume=True)
    assert [(one.level, one.subject) for one in start.findings()] == [("warn", next(iter(change)))]


@pytest.mark.parametrize(
    "spelling",
    [
        {"learning_rate": "0.000001"},
        {"reward": [{"name": "alp", "beta": "0.3"}]},
        {"advantage": "group_zscore", "group_size": 8, "updates_per_batch": 1},
        {"run_dir": "elsewhere"},
        {"seed": 42},
        {"dataset": {"name": "testbed"}},
    ],
)
def test_another_spelling_is_no_change(tmp_path, spelling):
    after_a_step(tmp_path)
    assert not prepare(recipe(tmp_path, CONFIG | spelling), resume=True).changes


def test_another_path_to_the_same_model_and_data_is_no_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "d.jsonl").write_text("{}\n")
    config = CONFIG | {"model_name_or_path": "model", "dataset": {"path": "d.jsonl"}}
    after_a_step(tmp_path / "run", config)
    same = {"model_name_or_path": "./model", "dataset": {"path": str(tmp_path / "d.jsonl")}}
    assert not prepare(recipe(tmp_path / "run", config | same), resume=True).changes


def test_a_start_that_failed_before_its_first_step_holds_nothing(tmp_path):
    prepare(recipe(tmp_path, CONFIG), resume=False)
    MetricsFile(tmp_path / "metrics.jsonl").write(0, {"evaluation/accuracy": 0.5})
    for resume in (True, False):
        assert not prepare(recipe(tmp_path, CONFIG | {"seed": 1 + resume}), resume=resume).resume


def test_resuming_in_a_folder_that_is_not_there_names_the_nearest(tmp_path):
    after_a_step(tmp_path / "my_run")
    with pytest.raises(ConfigError, match="my_run"):
        prepare(recipe(tmp_path / "my_rum", CONFIG), resume=True)
    assert not (tmp_path / "my_rum").exists()


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="run_dir"):
        prepare(recipe(tmp_path / "file" / "run", CONFIG), resume=False)


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
    prepare(recipe(tmp_path, CONFIG), resume=False)
    file = tmp_path / "metrics.jsonl"
    MetricsFile(file).write(1, {"loss": 0.5})
    before = [(tmp_path / name).read_text() for name in ("metrics.jsonl", "config.yaml")]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    for start in (
        lambda: MetricsFile(file, 1),
        lambda: prepare(recipe(tmp_path, {**CONFIG, "max_steps": 20}), resume=True),
    ):
        with pytest.raises(KeyboardInterrupt):
            start()
    assert [(tmp_path / name).read_text() for name in ("metrics.jsonl", "config.yaml")] == before


PLAIN, SHARDED = {"ranks": 2, "sharding": ""}, {"ranks": 2, "sharding": "deepspeed"}


def test_another_number_of_ranks_is_reported_where_each_has_the_whole_optimizer():
    state = {"launch": PLAIN}
    assert changed_ranks(state, PLAIN) == changed_ranks(state, PLAIN, "batch_size") == changed_ranks({}, PLAIN) == {}
    (found,) = Start(True, changed_ranks(state, {"ranks": 4, "sharding": ""})).findings()
    assert (found.level, found.subject) == ("note", "ranks") and re.search(r"\b2\b.*\b4\b", found.text)


@pytest.mark.parametrize(
    ("then", "now", "per_rank", "message"),
    [
        (
            SHARDED,
            {"ranks": 4, "sharding": "deepspeed"},
            "",
            "ranks.*4.*2.*deepspeed",
        ),
        (
            PLAIN,
            {"ranks": 1, "sharding": ""},
            "batch_size of stage warm",
            "batch_size of stage warm",
        ),
        (SHARDED, PLAIN, "", "plain data parallelism.*deepspeed.*2 ranks"),
        (PLAIN, {"ranks": 2, "sharding": "fsdp"}, "", "launcher.*fsdp"),
    ],
)
def test_another_launch_that_would_lose_or_change_something_is_refused(then, now, per_rank, message):
    with pytest.raises(ConfigError, match=message):
        changed_ranks({"launch": then}, now, per_rank)
