"""What a trained model's README and the reporting services say of a run."""

from __future__ import annotations

import json

import yaml

from tersely.configs.load import load_recipe
from tersely.configs.recipe import Recipe
from tersely.engines.chat import Prompting
from tersely.rl.config import checked, grpo_config, objective_of
from tersely.rl.recording.model_card import card_of


def test_the_card_names_base_method_data_and_settings(tmp_path):
    recipe = {**load_recipe("qwen3-0.6b/alp_24gb").to_dict(), "system_prompt": "Be brief.", "run_dir": str(tmp_path)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(recipe))
    data = {"sources": [{"source": "math", "read": 7500, "used": 7400}], "rows": 7400, "fingerprint": "abc"}
    (tmp_path / "data.json").write_text(json.dumps(data))
    stage = tmp_path / "stages" / "2-short"
    prompting = Prompting("Be brief.", "Box it.", {"enable_thinking": False})
    text = card_of(stage, 200, prompting=prompting)
    assert text == card_of(tmp_path, 200, prompting=prompting), "a stage's folder and the run's give one card"
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == "Qwen/Qwen3-0.6B" and front["datasets"] == ["EleutherAI/hendrycks_math"]
    assert "Qwen/Qwen3-0.6B, trained with ALP" in text and "arxiv.org/abs/2506.05256" in text and "None" not in text
    for words in ("name: alp", "math: 7400 problems of 7500 read", "group_size: 8", "system_prompt: Be brief."):
        assert words in text
    shown = yaml.safe_load(text.split("## Prompting")[1].split("```")[1].removeprefix("yaml"))
    assert Prompting(**shown) == prompting


def test_the_card_of_an_adapter_names_its_library_and_settings(tmp_path):
    recipe = {**load_recipe("qwen3-0.6b/alp_24gb").to_dict(), "peft": {"rank": 4}, "run_dir": str(tmp_path)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(recipe))
    text = card_of(tmp_path, 200)
    front = yaml.safe_load(text.split("---")[1])
    assert (front["library_name"], front["base_model"]) == ("peft", "Qwen/Qwen3-0.6B") and "rank: 4" in text


def test_a_card_of_a_run_that_wrote_little_is_still_one(tmp_path):
    assert card_of(tmp_path, 0).startswith("---\n")


def test_reporters_get_method_slots_and_the_beta_that_was_stated():
    recipe = {"method": "dapo", "model_name_or_path": "testbed", "beta": 0.01, "env": {"WANDB_API_KEY": "x" * 20}}
    recipe |= {"max_steps": 4, "learning_rate": 3e-6, "hub_token": "hf_" + "y" * 20}
    run = checked(Recipe.of(load_recipe_from(recipe)))
    args = grpo_config(run, objective_of(run), ranks=1)
    shown = args.to_dict()
    assert shown["method"] == "dapo" and shown["beta"] == 0.01 and shown["learning_rate"] == 3e-6
    assert shown["loss"]["name"] == "clip" and shown["advantage"] and shown["filter"] and shown["sampling"]
    text = json.dumps(shown, default=str)
    assert "x" * 20 not in text and "y" * 20 not in text
    plain = checked(Recipe.of({"model_name_or_path": "testbed", "max_steps": 4}))
    shown = grpo_config(plain, objective_of(plain), ranks=1).to_dict()
    assert shown["reward"] and shown["loss"], "defaults are shown too"


def load_recipe_from(recipe):
    """With the method's slots under it, as a recipe file would have."""
    from tersely.configs.load import SLOT_KEYS, load_method

    method = load_method(recipe["method"])
    return {**{key: method[key] for key in SLOT_KEYS if key in method}, **recipe}
