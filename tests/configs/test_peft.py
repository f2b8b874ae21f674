"""The `peft:` section: its values, and the spellings of other trainers."""

import pytest

from tersely.configs.peft import PeftSpec
from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.launch.cli.parser import Parser, check_keys


def recipe(peft, **more):
    return Recipe.of({"model_name_or_path": "testbed", "peft": peft, **more})


def test_a_section_is_parsed_once_and_none_trains_all_weights():
    found = recipe({"rank": 8, "targets": ["q_proj", "v_proj"], "method": "dora"}).peft
    assert found == PeftSpec("dora", 8, 32.0, 0.0, ("q_proj", "v_proj"))
    assert recipe({"method": "steering", "layers": [2, 0]}).peft == PeftSpec("steering", layers=(0, 2))
    assert recipe(None).peft is None and recipe({}).peft == PeftSpec()


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ({"rank": 0}, "peft.rank", "0"),
        ({"alpha": 0}, "peft.alpha", "0"),
        ({"dropout": 1.0}, "peft.dropout", "1"),
        ({"targets": "q_proj"}, "peft.targets", "q_proj"),
        ({"targets": []}, "peft.targets", "all-linear"),
        ({"method": "doar"}, "peft: method", "'dora'"),
        ({"ranks": 3}, "peft", "'rank'"),
        ({"method": "steering", "rank": 16}, "peft.rank", "steering"),
        ({"layers": "all"}, "peft.layers", "lora"),
        ({"method": "steering", "layers": []}, "peft.layers", "all"),
        ({"method": "steering", "layers": [-1]}, "peft.layers", "-1"),
        ({"method": "steering", "layers": "first"}, "peft.layers", "first"),
        (True, "peft", "True"),
    ],
)
def test_what_cannot_be_an_adapter_is_named(section, field, value):
    with pytest.raises(ConfigError) as refused:
        recipe(section)
    assert field in str(refused.value) and value in str(refused.value)


@pytest.mark.parametrize(
    ("section", "ours"), [({"r": 8}, "rank"), ({"lora_alpha": 8}, "alpha"), ({"target_modules": ["q"]}, "targets")]
)
def test_other_spellings_in_the_section_name_ours(section, ours):
    with pytest.raises(ConfigError, match=rf"{next(iter(section))}.*\b{ours}\b"):
        recipe(section)


@pytest.mark.parametrize(
    ("key", "ours"), [("use_peft", "rank"), ("lora_r", "rank"), ("lora_target_modules", "targets")]
)
def test_other_spellings_in_a_recipe_or_on_the_command_line_name_ours(key, ours):
    for call in (lambda: Recipe.of({"model_name_or_path": "testbed", key: 8}), lambda: check_keys({key: 8}, Parser())):
        with pytest.raises(ConfigError, match=rf"{key}.*peft.*\b{ours}\b"):
            call()


def test_all_stages_of_a_run_have_the_same_adapter():
    with pytest.raises(ConfigError, match=r"stage one.*\bpeft\b"):
        recipe({"rank": 4}, stages=[{"name": "one", "steps": 1, "peft": {"rank": 8}}])
