"""Every YAML file that the package ships parses, and says what its reader accepts."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from tersely.build import SLOTS, build
from tersely.configs.load import SLOT_KEYS, list_methods, list_recipes, load_method, load_recipe, read_yaml

CONFIGS = Path(str(files("tersely.configs")))
ALL = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
ACCELERATE = ("single_gpu", "multi_gpu", "zero2", "zero3", "fsdp2")


@pytest.mark.parametrize("name", ALL)
def test_every_file_parses(name):
    assert read_yaml(CONFIGS / name)


@pytest.mark.parametrize("name", list_methods())
def test_every_preset_has_a_card_and_builds(name):
    from tersely.rl.objective import Objective

    preset = load_method(name)
    assert preset["title"]
    assert preset["summary"]
    assert re.fullmatch(r"\d{4}\.\d{4,5}", preset["paper"]), "an arXiv number, quoted"
    assert {"reward", "advantage", "policy", "filter"} <= preset.keys(), "a preset spells these out"
    for section in (preset, *preset.get("stages", [])):
        Objective.from_specs({key: section[key] for key in SLOT_KEYS if key in section})


@pytest.mark.parametrize("name", list_methods())
def test_settings_and_stages_of_presets_hold_only_known_keys(name):
    import dataclasses

    from trl import GRPOConfig

    from tersely.rl.config import DERIVED, RunConfig

    known = {field.name for cls in (GRPOConfig, RunConfig) for field in dataclasses.fields(cls)} - DERIVED.keys()
    preset = load_method(name)
    assert preset.get("settings", {}).keys() <= known
    for stage in preset.get("stages", []):
        assert stage["name"]
        assert stage.keys() <= known | {"name", "steps", "share", "settings"}


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_resolves_to_a_run(name):
    from tersely.rl.config import grpo_config, split_recipe

    run, trl_values = split_recipe(load_recipe(name))
    objective = run.objective()
    args = grpo_config(run, trl_values, objective, 1)
    assert args.num_generations == run.group_size
    assert run.model_name_or_path


@pytest.mark.parametrize("name", ACCELERATE)
def test_accelerate_reads_its_files(name):
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(str(CONFIGS / "accelerate" / f"{name}.yaml"))
    assert config.num_processes == (1 if name == "single_gpu" else 2)
    assert config.mixed_precision is None, "precision is the recipe's"
    if name.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(name[-1])
        for key in ("gradient_accumulation_steps", "gradient_clipping"):
            assert config.deepspeed_config[key] == "auto"
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2


def test_the_slots_of_presets_are_those_that_build_knows():
    assert {key.removesuffix("s") if key == "controllers" else key for key in SLOT_KEYS} - {"aggregate"} <= SLOTS.keys()
    assert build("advantage", load_method("alp")["advantage"])
