"""Presets and recipes: what wins over what, and what is refused."""

from __future__ import annotations

import pytest

from tersely.checks import SpecError
from tersely.configs.load import list_methods, list_recipes, load_method, load_recipe


def recipe(tmp_path, text: str, name: str = "recipe.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_the_five_of_the_first_hour_are_there():
    assert {"grpo", "dapo", "dr_grpo", "dler", "alp"} <= set(list_methods())


def test_unknown_names_give_the_nearest():
    with pytest.raises(SpecError, match="did you mean 'dler'"):
        load_method("deler")
    with pytest.raises(SpecError, match="recipe 'nowhere/nothing' does not exist"):
        load_recipe("nowhere/nothing")
    with pytest.raises(SpecError, match="cannot be read"):
        load_method("nowhere.yaml")


def test_unknown_key_of_a_method_gives_the_nearest(tmp_path):
    with pytest.raises(SpecError, match="no key 'advantages'; did you mean 'advantage'"):
        load_method(recipe(tmp_path, "advantages: group_mean"))


def test_recipe_wins_over_preset_and_command_line_over_both(tmp_path):
    path = recipe(tmp_path, "method: alp\nadvantage: rloo\nmax_steps: 10\nlearning_rate: 1e-6\n")
    merged = load_recipe(path, {"max_steps": 3, "seed": 7})
    assert merged["advantage"] == "rloo"
    assert merged["reward"] == load_method("alp")["reward"]
    assert (merged["max_steps"], merged["seed"], merged["method"]) == (3, 7, "alp")
    assert not {"title", "paper", "summary"} & merged.keys()


def test_a_slot_is_replaced_whole(tmp_path):
    merged = load_recipe(recipe(tmp_path, "method: alp\nreward: {name: alp, beta: 0.3}\n"))
    assert merged["reward"] == {"name": "alp", "beta": 0.3}


def test_settings_of_the_preset_lie_under_the_recipe(tmp_path):
    preset = recipe(tmp_path, "reward: correctness\nsettings: {beta: 0.001, num_iterations: 2}\n", "preset.yaml")
    merged = load_recipe(recipe(tmp_path, f"method: {preset}\nnum_iterations: 1\n"))
    assert (merged["beta"], merged["num_iterations"]) == (0.001, 1)
    assert "settings" not in merged


def test_stages_of_the_preset_are_not_lost(tmp_path):
    preset = recipe(tmp_path, "reward: correctness\nstages: [{name: one, steps: 2}]\n", "preset.yaml")
    assert load_recipe(recipe(tmp_path, f"method: {preset}\n"))["stages"] == [{"name": "one", "steps": 2}]


def test_a_method_that_the_recipe_would_hide_is_refused(tmp_path):
    path = recipe(tmp_path, "method: alp\nreward: {name: alp, beta: 0.3}\n")
    with pytest.raises(SpecError, match="fills reward itself, which method 'grpo' would not change"):
        load_recipe(path, {"method": "grpo"})
    assert load_recipe(path, {"method": "grpo", "reward": "correctness"})["advantage"] == "group_zscore"
    assert load_recipe(path, {"method": "alp"})["reward"]["beta"] == 0.3


def test_recipe_without_a_method_stands_alone(tmp_path):
    assert load_recipe(recipe(tmp_path, "reward: correctness\n")) == {"reward": "correctness"}
    assert load_recipe(recipe(tmp_path, "")) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "no valid YAML"),
        ("- a\n- b\n", "holds a list"),
        ("beta: 1\nreward: x\nbeta: 2\n", "'beta' stands twice"),
        ("reward:\n  name: alp\n  beta: 1\n  beta: 2\n", "'beta' stands twice"),
        ("!!python/object/apply:os.getcwd []", "no valid YAML"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(SpecError, match=message):
        load_recipe(recipe(tmp_path, text))


def test_a_file_in_another_encoding_is_an_error(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("run_dir: Füße".encode("latin-1"))
    with pytest.raises(SpecError, match="cannot be read"):
        load_recipe(path)


def test_merge_keys_of_yaml_still_work(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n"
    assert load_recipe(recipe(tmp_path, text))["b"] == {"x": 1, "y": 3}


def test_shipped_recipes_load_by_name():
    for name in list_recipes():
        assert load_recipe(name)
