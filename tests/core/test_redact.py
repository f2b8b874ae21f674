"""No secret reaches a file or a terminal, and nothing else is hidden."""

from __future__ import annotations

import json

import pytest
import yaml

from tersely.configs.recipe import Recipe
from tersely.core.redact import REDACTED, redacted, secret_values, struck
from tersely.launch.cli import train
from tersely.rl.recording.run_dir import prepare

SECRET = "hf_AbCdEfGhIjKlMnOp"
CONFIG = {
    "env": {"HF_TOKEN": SECRET, "WANDB_API_KEY": SECRET + "w", "db_password": SECRET + "p", "NCCL_DEBUG": "INFO"},
    "hub_token": SECRET + "h",
    "model_init_kwargs": {"token": SECRET + "m", "attn_implementation": "sdpa"},
    "max_completion_length": 64,
    "aggregate": "token",
}


def test_secrets_go_and_the_rest_stays():
    copy = redacted(CONFIG)
    assert SECRET not in str(copy)
    assert copy["env"] == {
        "HF_TOKEN": REDACTED,
        "WANDB_API_KEY": REDACTED,
        "db_password": REDACTED,
        "NCCL_DEBUG": "INFO",
    }
    assert copy["model_init_kwargs"] == {"token": REDACTED, "attn_implementation": "sdpa"}
    assert copy["aggregate"] == "token" and copy["max_completion_length"] == 64
    assert SECRET in str(CONFIG), "the recipe itself is untouched"
    assert redacted(copy) == copy


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS"])
def test_other_variables_stay(name):
    assert redacted({"env": {name: "false"}})["env"] == {name: "false"}


@pytest.mark.parametrize("key", ["eos_token", "max_tokens", "pad_token", "num_tokens"])
def test_tokens_of_text_are_no_secrets(key):
    assert redacted({key: "<|im_end|>"}) == {key: "<|im_end|>"}


def test_a_log_is_struck_of_values_wherever_they_came_from(monkeypatch):
    monkeypatch.setenv("OTHER_SECRET", "from-the-environment")
    monkeypatch.setenv("SHORT_KEY", "on")
    secrets = secret_values(CONFIG)
    line = struck(f"login on {SECRET}w {SECRET} {SECRET}h from-the-environment", secrets)
    assert line == f"login on {REDACTED} {REDACTED} {REDACTED} {REDACTED}"
    assert "on" not in secrets


def test_a_run_directory_holds_no_secret_and_still_knows_its_own_config(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(sys, "argv", ["train", "--env", json.dumps(CONFIG["env"]), "--hub_token", SECRET + "h"])
    prepare(Recipe.of({**CONFIG, "model_name_or_path": "testbed", "run_dir": str(tmp_path / "run")}), resume=False)
    for path in (tmp_path / "run").rglob("*"):
        assert SECRET not in path.read_text(), path
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["env"]["NCCL_DEBUG"] == "INFO"
    prepare(
        Recipe.of(
            {**CONFIG, "model_name_or_path": "testbed", "run_dir": str(tmp_path / "run"), "hub_token": "another"}
        ),
        resume=True,
    )


def test_a_dry_run_prints_no_secret(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "something else")
    assert train.main(["--config", "testbed/alp", "--dry-run", "--env", f"{{HF_TOKEN: {SECRET}}}"]) == 0
    printed = capsys.readouterr().out
    assert SECRET not in printed and REDACTED in printed
