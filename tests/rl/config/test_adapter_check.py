"""What cannot be trained as an adapter is an error before weights are read."""

import json
import sys

import pytest

pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.rl.check import check_stage
from tersely.rl.config import checked


def check(**values):
    values = {"max_steps": 1, "max_completion_length": 32, "gradient_checkpointing": False, **values}
    (stage,) = checked(Recipe.of({"model_name_or_path": "testbed", **values})).stages
    return check_stage(stage)


@pytest.mark.parametrize(
    ("peft", "field", "hint"),
    [
        ({"targets": ["q_porj"]}, "peft.targets", "q_proj"),
        ({"targets": ["lm_head"]}, "peft.targets", "valid"),
        ({"targets": ["q_proj", "input_layernorm"]}, "peft.targets", "input_layernorm"),
        ({"rank": 4096}, "peft.rank", "4096"),
    ],
)
def test_targets_and_rank_are_those_of_the_model(peft, field, hint):
    with pytest.raises(ConfigError) as refused:
        check(peft=peft)
    assert field in str(refused.value) and hint in str(refused.value)
    check(peft={"targets": ["q_proj", "layers.0.mlp.up_proj"]})


def test_peft_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "peft" else object())
    with pytest.raises(ConfigError, match=r"peft.*tersely\[lora\]"):
        check(peft={"rank": 4})


def test_fsdp_and_quantised_weights_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="quantization_config"):
        check(peft={"rank": 4}, model_init_kwargs={"quantization_config": {"load_in_4bit": True}})
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="peft.*FSDP"):
        check(peft={"rank": 4})


def test_an_adapter_is_trained_further_by_the_same_section(tmp_path):
    config = {"peft_type": "LORA", "base_model_name_or_path": "testbed", "r": 8, "lora_alpha": 32, "use_dora": False}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    check(peft={"rank": 8}, model_name_or_path=str(tmp_path))
    with pytest.raises(ConfigError, match=r"peft.rank: got 4; expected 8"):
        check(peft={"rank": 4}, model_name_or_path=str(tmp_path))
    with pytest.raises(ConfigError, match="an adapter.*peft"):
        check(model_name_or_path=str(tmp_path))


def test_dropout_in_a_stage_of_rl_warns():
    (warning,) = [one for one in check(peft={"dropout": 0.1}).findings if one.subject == "peft.dropout"]
    assert warning.level == "warn"
    assert not [one for one in check(peft={}).findings if one.subject == "peft.dropout"]
