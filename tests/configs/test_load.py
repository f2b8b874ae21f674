"""Presets and recipes: what wins over what, and what is refused."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from tersely.configs.load import SLOT_KEYS, list_methods, list_recipes, load_method, read_yaml, resolved_values
from tersely.core.errors import ConfigError

ALP = {"name": "alp", "beta": 0.2, "normalizer": "max_length"}
RECIPES = Path(str(files("tersely.configs"))) / "recipes"


def recipe(tmp_path, text: str, name: str = "recipe.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_the_five_of_the_first_hour_are_there():
    assert {"grpo", "dapo", "dr_grpo", "dler", "alp"} <= set(list_methods())


def test_unknown_names_give_the_nearest():
    with pytest.raises(ConfigError, match="'dler'"):
        load_method("deler")
    with pytest.raises(ConfigError, match="recipe 'nowhere/nothing'"):
        resolved_values("nowhere/nothing")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_method("nowhere.yaml")


def test_unknown_key_of_a_method_gives_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="key 'advantages'.*'advantage'"):
        load_method(recipe(tmp_path, "advantages: group_mean"))


def test_recipe_wins_over_preset_and_command_line_over_both(tmp_path):
    path = recipe(tmp_path, "method: alp\nadvantage: rloo\nmax_steps: 10\nlearning_rate: 1e-6\n")
    merged = resolved_values(path, {"max_steps": 3, "seed": 7})
    assert merged["advantage"] == "rloo"
    assert merged["reward"] == load_method("alp")["reward"]
    assert (merged["max_steps"], merged["seed"], merged["method"]) == (3, 7, "alp")
    assert not {"title", "paper", "summary"} & merged.keys()


def test_a_slot_is_replaced_whole(tmp_path):
    merged = resolved_values(recipe(tmp_path, "method: kimi\nreward: {name: correctness}\n"))
    assert merged["reward"] == {"name": "correctness"}


@pytest.mark.parametrize(
    ("text", "slot", "expected"),
    [
        ("reward: alp", "reward", {"name": "alp", "beta": 0.2, "normalizer": "max_length"}),
        ("reward: {name: alp, beta: 0.3}", "reward", {"name": "alp", "beta": 0.3, "normalizer": "max_length"}),
        ("reward: {name: alp, beta: 1, normalizer: 1}", "reward", {"name": "alp", "beta": 1, "normalizer": 1}),
        (
            "method: alp\nreward: {name: alp, beta: 0.3}",
            "reward",
            {"name": "alp", "beta": 0.3, "normalizer": "max_length"},
        ),
        ("method: alp_paper\nreward: {name: alp, beta: 2.0e-7}", "reward", {"name": "alp", "beta": 2e-7}),
        ("method: alp_group_max\nreward: {name: alp, beta: 0.3}", "reward", "alp_group_max"),
        (
            "reward: [correctness, {name: kimi, weight: 0.2}]",
            "reward",
            ["correctness", {"name": "kimi", "weight": 0.2, "warmup": 0.1}],
        ),
        ("loss: sapo", "loss", {"name": "sapo", "tau_pos": 1.0, "tau_neg": 1.05}),
        (
            "loss: {name: kl_penalty, beta: 0.1, base: gspo_token}",
            "loss",
            {"name": "kl_penalty", "beta": 0.1, "base": "gspo_token"},
        ),
        ("loss: {name: clip, clip_low: 0.1}", "loss", {"name": "clip", "clip_low": 0.1}),
        ("controllers: [entropy_target]", "controllers", [{"name": "entropy_target", "target": 0.2}]),
        ("reward: shorterbetter", "reward", "shorterbetter"),
    ],
)
def test_a_component_of_a_recipe_starts_from_the_preset_of_its_name(tmp_path, text, slot, expected):
    if expected == "alp_group_max":
        expected = {**load_method("alp_group_max")["reward"], "beta": 0.3}
    path = recipe(tmp_path, text + "\n")
    merged = resolved_values(path)
    assert merged[slot] == expected
    resolved = recipe(tmp_path, yaml.safe_dump(merged), "resolved.yaml")
    assert resolved_values(resolved)[slot] == expected, "a resolved recipe means the same"
    assert resolved_values(recipe(tmp_path, "max_steps: 1\n"), yaml.safe_load(text))[slot] == expected, "as an override"


def test_a_dotted_override_changes_one_value_and_keeps_the_preset(tmp_path):
    for text in ("reward: alp\n", "method: alp\n", "method: alp\nreward: alp\n"):
        merged = resolved_values(recipe(tmp_path, text), {"reward.beta": 0.3})
        assert merged["reward"] == {"name": "alp", "beta": 0.3, "normalizer": "max_length"}


def test_stages_of_a_recipe_start_from_presets_too_and_those_of_a_method_stay(tmp_path):
    merged = resolved_values(recipe(tmp_path, "stages: [{name: a, reward: {name: alp, beta: 0.3}}, {name: b}]\n"))
    assert merged["stages"][0]["reward"] == {"name": "alp", "beta": 0.3, "normalizer": "max_length"}
    preset = recipe(tmp_path, "stages: [{name: a, reward: alp}]\n", "preset.yaml")
    again = recipe(tmp_path, yaml.safe_dump(resolved_values(recipe(tmp_path, f"method: {preset}\n"))), "resolved.yaml")
    assert resolved_values(again)["stages"] == [{"name": "a", "reward": "alp"}]


def test_shipped_recipes_say_what_they_mean():
    for name in list_recipes():
        own, merged = read_yaml(RECIPES / f"{name}.yaml"), resolved_values(name)
        assert all(merged[key] == own[key] for key in SLOT_KEYS if key in own), name


def test_settings_of_the_preset_lie_under_the_recipe(tmp_path):
    preset = recipe(tmp_path, "reward: correctness\nsettings: {beta: 0.001, num_iterations: 2}\n", "preset.yaml")
    merged = resolved_values(recipe(tmp_path, f"method: {preset}\nnum_iterations: 1\n"))
    assert (merged["beta"], merged["num_iterations"]) == (0.001, 1)
    assert "settings" not in merged


def test_stages_of_the_preset_are_not_lost(tmp_path):
    preset = recipe(tmp_path, "reward: correctness\nstages: [{name: one, steps: 2}]\n", "preset.yaml")
    assert resolved_values(recipe(tmp_path, f"method: {preset}\n"))["stages"] == [{"name": "one", "steps": 2}]


def test_an_overriding_method_replaces_what_the_one_before_it_decided(tmp_path):
    """Also in a resolved recipe, which states every slot: or three runs of a sweep would train one method."""
    path = recipe(tmp_path, "method: alp\nreward: {name: alp, beta: 0.3}\nfilter: mixed_groups\nmax_steps: 7\n")
    resolved = recipe(
        tmp_path, yaml.safe_dump({**resolved_values(path), "stages": [{"name": "a", "share": 1}]}), "r.yaml"
    )
    for method in ("grpo", "dler", "lapo"):
        said: list[str] = []
        found = resolved_values(resolved, {"method": method}, said.append)
        wanted = resolved_values(recipe(tmp_path, f"method: {method}\nmax_steps: 7\n", "plain.yaml"))
        assert found == wanted
        assert len(said) == 1 and f"method {method} replaces" in said[0] and "beta: 0.3" in said[0]
    assert resolved_values(path, {"method": "grpo", "reward": "alp"})["reward"] == load_method("alp")["reward"]
    said = []
    assert resolved_values(path, {"method": "alp"}, said.append)["reward"]["beta"] == 0.3 and not said
    none = recipe(tmp_path, "reward: {name: kimi}\n", "none.yaml")
    assert resolved_values(none, {"method": "grpo"}, said.append)["reward"] == load_method("grpo")["reward"] and said


def test_settings_of_the_method_before_go_and_the_users_stay(tmp_path):
    preset = recipe(tmp_path, "reward: correctness\nsettings: {beta: 0.001, num_iterations: 2}\n", "preset.yaml")
    path = recipe(tmp_path, f"method: {preset}\nbeta: 0.001\nnum_iterations: 3\n")
    assert resolved_values(path, {"method": "grpo"}).keys() >= {"num_iterations"}
    assert "beta" not in resolved_values(path, {"method": "grpo"})


@pytest.mark.parametrize(
    ("text", "dotted", "found"),
    [
        ("method: alp", {"reward.beta": 0.3}, lambda r: r["reward"] == {**load_method("alp")["reward"], "beta": 0.3}),
        ("reward: alp", {"reward.beta": 0.3}, lambda r: r["reward"] == {**ALP, "beta": 0.3}),
        ("seed: 1", {"loss.clip_high": 0.3}, lambda r: r["loss"] == {"name": "clip", "clip_high": 0.3}),
        ("seed: 1", {"verifier.timeout": 3}, lambda r: r["verifier"] == {"timeout": 3}),
        ("reward: [correctness, alp]", {"reward.alp.beta": 1}, lambda r: r["reward"][1] == {**ALP, "beta": 1}),
        ("reward: [correctness, alp]", {"reward.1.beta": 1}, lambda r: r["reward"][1] == {**ALP, "beta": 1}),
        ("reward: [alp]", {"reward.beta": 1}, lambda r: r["reward"] == [{**ALP, "beta": 1}]),
        (
            "loss: {name: gspo, base: clip}",
            {"loss.base.x": 1},
            lambda r: r["loss"]["base"] == {"name": "clip", "x": 1},
        ),
        (
            "stages: [{name: a, steps: 2}, {name: b, steps: 2}]",
            {"stages.b.steps": 9},
            lambda r: r["stages"][1]["steps"] == 9,
        ),
        ("reward: kimi", {"reward.beta": 1, "reward": "alp"}, lambda r: r["reward"] == {**ALP, "beta": 1}),
    ],
)
def test_a_dotted_key_sets_one_part(tmp_path, text, dotted, found):
    assert found(resolved_values(recipe(tmp_path, text), dotted))


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("reward: [correctness, alp]", "reward.beta", "reward.beta.*list of 2"),
        ("seed: 1", "seed.x", "seed.x.*seed is 1"),
        ("seed: 1", "reward..beta", "empty part"),
    ],
)
def test_a_dotted_key_that_leads_nowhere_is_refused(tmp_path, text, key, message):
    with pytest.raises(ConfigError, match=message):
        resolved_values(recipe(tmp_path, text), {key: 1})


def test_recipe_without_a_method_stands_alone(tmp_path):
    assert resolved_values(recipe(tmp_path, "reward: correctness\n")) == {"reward": "correctness"}
    assert resolved_values(recipe(tmp_path, "")) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "invalid YAML"),
        ("- a\n- b\n", "got a list"),
        ("beta: 1\nreward: x\nbeta: 2\n", "duplicate key 'beta'"),
        ("reward:\n  name: alp\n  beta: 1\n  beta: 2\n", "duplicate key 'beta'"),
        ("!!python/object/apply:os.getcwd []", "invalid YAML"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        resolved_values(recipe(tmp_path, text))


def test_a_file_in_another_encoding_is_an_error(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("run_dir: Füße".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        resolved_values(path)


def test_merge_keys_of_yaml_still_work(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n"
    assert resolved_values(recipe(tmp_path, text))["b"] == {"x": 1, "y": 3}


def test_shipped_recipes_load_by_name():
    for name in list_recipes():
        assert resolved_values(name)
