"""Every shipped preset: its keys, its slots, each of its stages, and the label it owes its reader."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from trl import GRPOConfig

from tersely.configs.cold_start import ColdStart
from tersely.configs.load import SLOT_KEYS, list_methods, load_method
from tersely.configs.recipe import KEYS, Recipe
from tersely.core.aggregate import AGGREGATES
from tersely.core.build import build

OF_THE_CARDS = [
    *("grpo", "truncation", "dler", "da_dler", "alp", "lapo", "hbpo", "selfbudgeter", "autothink", "arm"),
    *("l1_exact", "l1_max", "kimi", "arora_zanette", "thinkprune", "gfpo", "laser", "laser_d", "laser_de"),
    *("adaptthink", "thinkless", "grpo_lead", "hapo_history", "dast", "o1_pruner", "gr3", "shorterbetter", "adlp"),
    *("leash", "acoer", "cosine", "concise_rl", "grpo_lambda", "budgetthinker", "elastic", "dr_grpo"),
    *("dot", "gdpo", "pear", "etr", "arlcp", "short_rl", "siri"),
]
OF_THE_TOKEN_CARDS = [
    *("dapo", "hapo", "hapo_as_released", "sapo", "cispo", "gspo", "gspo_token", "gmpo", "high_entropy_20", "clip_cov"),
    *("kl_cov", "archer", "dcpo", "bapo", "ktae", "ares", "entropy_shaped", "gtpo", "grpo_s", "qae", "tea_rl"),
    *("entropy_target", "luspo", "vespo", "maxrl", "opo", "sas", "sas_as_released", "dppo", "dppo_kl", "ce_gppo"),
]
STAGE_KEYS = {*SLOT_KEYS, "settings", "name", "steps", "share"}
COLD_START_KEYS = {"kind", *(f.name for f in dataclasses.fields(ColdStart))}


def stages(method: dict) -> list[dict]:
    """What each stage runs: the method's own slots, overridden by the stage's."""
    recipe = recipe_of(method, max_steps=100)
    return [{k: v for k, v in stage.recipe.to_dict().items() if k in SLOT_KEYS} for stage in recipe.stages]


def recipe_of(method: dict, **values) -> Recipe:
    slots = {key: value for key, value in method.items() if key in (*SLOT_KEYS, "stages")}
    return Recipe.of({**slots, **(method.get("settings") or {}), "model_name_or_path": "m", **values})


def test_every_method_of_the_cards_has_a_preset():
    assert {*OF_THE_CARDS, *OF_THE_TOKEN_CARDS} <= set(list_methods())


@pytest.mark.parametrize("name", list_methods())
def test_a_preset_builds_in_every_stage(name):
    method = load_method(name)
    assert {"title", "paper", "summary", "reward", "advantage", "filter"} <= method.keys()
    assert all(str(method[key]).strip() for key in ("title", "summary"))
    assert ("loss" in method) != ("loss_type" in method.get("settings", {})), "one of ours, or TRL's own loss"
    assert isinstance(method["paper"], str), "quote the number: YAML reads 2506.10 as 2506.1"
    for filled in stages(method):
        for slot in ("prompting", "sampling", "trim", "reward", "advantage", "loss", "filter"):
            if slot in filled:
                built = build(slot, filled[slot])
                if slot == "advantage":
                    built.check_objective(type("Filled", (), {"reward": build("reward", filled["reward"])}))
        assert filled.get("aggregate", "token") in AGGREGATES


@pytest.mark.parametrize("name", list_methods())
def test_settings_and_stages_have_known_keys(name):
    method = load_method(name)
    known = {*KEYS, *(f.name for f in dataclasses.fields(GRPOConfig))}
    for holder in (method, *(method.get("stages") or [])):
        assert set(holder.get("settings") or {}) <= known or holder.get("kind") == "sft"
    for stage in method.get("stages") or []:
        keys = STAGE_KEYS | (COLD_START_KEYS if stage.get("kind") == "sft" else set())
        assert set(stage) <= keys and "name" in stage and ("share" in stage) != ("steps" in stage)
    shares = [stage["share"] for stage in method.get("stages") or [] if "share" in stage]
    assert not shares or sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("name", list_methods())
def test_an_adapted_component_makes_an_adapted_preset(name):
    method = load_method(name)
    for filled in stages(method):
        parts = [build(slot, filled[slot]) for slot in ("prompting", "reward", "advantage") if slot in filled]
        parts += list(getattr(parts[0 if "prompting" not in filled else 1], "terms", ()))
        if any(getattr(part, "label", "") for part in parts):
            assert method.get("label", "").startswith("adapted")


@pytest.mark.parametrize(
    ("names", "clip"),
    [
        (("dapo", "ktae"), {"clip_high": 0.28, "dual_clip": 10.0}),
        (("entropy_shaped", "qae"), {"clip_high": 0.28}),
        (("gtpo", "grpo_s"), {}),
    ],
)
def test_the_clip_of_the_token_presets_is_the_cards(names, clip):
    for name in names:
        assert build("loss", load_method(name)["loss"]) == build("loss", {"name": "clip", **clip})


def test_presets_are_plain_yaml_of_one_screen():
    from importlib.resources import files

    for path in (files("tersely.configs") / "methods").iterdir():
        text = path.read_text()
        assert len(text.splitlines()) <= 60 and yaml.safe_load(text)


def test_the_page_of_the_length_methods_names_every_preset_of_the_cards():
    page = (Path(__file__).parents[2] / "docs" / "methods-length.md").read_text()
    missing = [name for name in OF_THE_CARDS if f"`{name}`" not in page and name != "grpo"]
    assert not missing


def test_the_page_says_adapted_where_the_preset_does():
    page = (Path(__file__).parents[2] / "docs" / "methods-length.md").read_text()
    for name in OF_THE_CARDS:
        rows = [line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
        if load_method(name).get("label"):
            assert any("adapted" in row for row in rows), name


def test_the_page_of_the_token_methods_names_every_preset_of_the_cards():
    page = (Path(__file__).parents[2] / "docs" / "methods-token.md").read_text()
    assert not [name for name in OF_THE_TOKEN_CARDS if f"`{name}`" not in page]


@pytest.mark.parametrize("name", [name for name in list_methods() if load_method(name).get("stages")])
def test_no_stage_of_a_method_goes_beyond_the_cap_that_a_user_states(name):
    cap = 200
    method = load_method(name)
    for stage in recipe_of(method, max_steps=100, max_completion_length=cap).stages:
        own = stage.recipe.trl["max_completion_length"]
        assert 0 < own <= cap
        for slot in ("prompting", "reward"):
            tokens = [
                v
                for key in ("unsolved_target", "limit", "budgets")
                for v in _values(stage.recipe.to_dict().get(slot), key)
            ]
            assert all(v <= own for v in tokens), (stage.name, slot, tokens)


def _values(spec, key):
    found = spec.get(key, ()) if isinstance(spec, dict) else ()
    return found if isinstance(found, list | tuple) else [found]
