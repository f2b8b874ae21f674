"""What cannot be trained as an adapter is an error before weights are read."""

import json
import sys

import pytest

pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")

from tersely.configs.recipe import Recipe
from tersely.core.errors import ConfigError
from tersely.engines.model_folder import model_location
from tersely.engines.steering import target_modules
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


def test_layers_of_steering_vectors_are_those_of_the_model(tmp_path):
    check(peft={"method": "steering", "layers": [0, 2]})
    with pytest.raises(ConfigError, match=r"peft.layers: got 4; expected.*0 to 3"):
        check(peft={"method": "steering", "layers": [0, 4]})
    names = target_modules((0, 2))
    config = {"peft_type": "BEFT", "base_model_name_or_path": "testbed", "target_modules": names}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    check(peft={"method": "steering", "layers": [2, 0]}, model_name_or_path=str(tmp_path))
    with pytest.raises(ConfigError, match=r"peft.layers: got all; expected \(0, 2\)"):
        check(peft={"method": "steering"}, model_name_or_path=str(tmp_path))
    with pytest.raises(ConfigError, match=r"peft.method: got lora; expected steering"):
        check(peft={"rank": 8}, model_name_or_path=str(tmp_path))


def config_of(kind, folder, **values):
    """A recipe with steering vectors for a model of that architecture, whose file of weights is empty."""
    from transformers import AutoConfig, AutoTokenizer

    sizes = {"vocab_size": 430, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = AutoConfig.for_model(kind, num_attention_heads=2, num_key_value_heads=1, **sizes, **values)
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_location("testbed")).save_pretrained(folder)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return {"peft": {"method": "steering"}, "model_name_or_path": str(folder)}


def test_an_architecture_that_cannot_carry_vectors_is_refused_where_they_are_served(tmp_path, monkeypatch):
    recipe = config_of("qwen3", tmp_path / "qwen3")
    check(**recipe)
    monkeypatch.setattr("tersely.engines.vllm_import.require_vllm", lambda: None)
    monkeypatch.setattr("tersely.rl.config.build_check.check_build", lambda *_: None)
    with pytest.raises(ConfigError, match="qwen3.*engine: transformers"):
        check(**recipe, engine="vllm")
    with pytest.raises(ConfigError, match="mlp.down_proj.*lora"):
        check(**config_of("gemma2", tmp_path / "gemma2", head_dim=16))


def test_a_learning_rate_of_all_weights_warns_with_steering_vectors():
    def warned(**values):
        return any(one.subject == "learning_rate" and one.level == "warn" for one in check(**values).findings)

    assert warned(peft={"method": "steering"}, learning_rate=1e-6)
    assert not warned(peft={"method": "steering"}, learning_rate=1e-2)
    assert not warned(peft={"rank": 4}, learning_rate=1e-6)


def test_dropout_in_a_stage_of_rl_warns():
    (warning,) = [one for one in check(peft={"dropout": 0.1}).findings if one.subject == "peft.dropout"]
    assert warning.level == "warn"
    assert not [one for one in check(peft={}).findings if one.subject == "peft.dropout"]
