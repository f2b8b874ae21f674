"""Teachers that cannot be used are found before any weights are loaded."""

from __future__ import annotations

import json
import re

import pytest

from tersely.algorithms.objective import Objective
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.config import checked, grpo_config, objective_of
from tersely.rl.config.prompt_check import example_prompt
from tersely.rl.config.teacher_check import check_teachers

OTHER = {"name": "aligndistil", "instruction": None}


def check(model, loss, **recipe):
    run = Recipe.of({"model_name_or_path": str(model), "loss": loss, "run_dir": "runs/x", **recipe})
    check_teachers(run, Objective.from_specs({"loss": loss}))


def changed(tiny_model, folder, **values):
    folder.mkdir()
    config = json.loads((tiny_model / "config.json").read_text())
    (folder / "model.safetensors").symlink_to(tiny_model / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**config, **values}))
    return folder


def test_a_model_of_the_same_vocabulary_passes(tiny_model, tmp_path):
    check(tiny_model, "opsdc")
    check(tiny_model, {**OTHER, "teacher": str(changed(tiny_model, tmp_path / "other", rope_theta=1e5))})


def test_a_missing_model_and_another_vocabulary(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        check(tiny_model, {**OTHER, "teacher": str(tmp_path / "nowhere")})
    other = changed(tiny_model, tmp_path / "other", vocab_size=300)
    with pytest.raises(ConfigError, match="300"):
        check(tiny_model, {**OTHER, "contrast": str(other)})


def test_logits_that_are_not_those_of_the_head(tiny_model, tmp_path):
    model = changed(tiny_model, tmp_path / "capped", final_logit_softcapping=30.0)
    with pytest.raises(ConfigError, match="final_logit_softcapping"):
        check(model, "opsdc")
    check(model, "clip")


def test_one_such_loss_and_no_fsdp(tiny_model, monkeypatch):
    class Both(type(Objective.from_specs({"loss": "opsdc"}).loss)):
        base = Objective.from_specs({"loss": "aligndistil"}).loss

    objective = Objective.from_specs({"loss": "clip"})
    object.__setattr__(objective, "loss", Both())
    run = Recipe.of({"model_name_or_path": str(tiny_model), "run_dir": "runs/x"})
    with pytest.raises(ConfigError, match="aligndistil"):
        check_teachers(run, objective)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="FSDP"):
        check(tiny_model, "opsdc")


def test_the_dry_run_shows_and_counts_the_prompt_of_the_teacher(tiny_model):
    loss = {"name": "opsdc", "instruction": "Be brief."}
    values = {"model_name_or_path": str(tiny_model), "dataset": {"name": "testbed"}, "run_dir": "runs/x", "loss": loss}
    run = checked(Recipe.of({**values, "max_completion_length": 200}))
    objective = objective_of(run)
    args = grpo_config(run, objective, 1)
    shown = example_prompt(run, objective, args)
    problem = re.search("<user>Be brief.\n\n(.*)<assistant>", shown)[1]
    assert f"<user>{problem}<assistant>" in shown
    args.max_completion_length = 256 - len(f"<user>{problem}<assistant>") - len("Be brief.")
    with pytest.raises(ConfigError, match="max_completion_length"):
        example_prompt(run, objective, args)
