"""The Llama with biases that a model with steering vectors is saved and served as."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")

from tersely.configs.peft import PeftSpec
from tersely.core.errors import ConfigError
from tersely.engines import steering
from tersely.engines.adapter import merged, merged_parameters, trained_parts

IDS = torch.arange(5, 25).unsqueeze(0)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16}


def steered(kind, **values):
    """A random model with random biases, and a random vector after its last layer."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, num_attention_heads=4, num_key_value_heads=2, **sizes, **values)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            value.data.normal_()
    model = trained_parts(model, PeftSpec("steering", layers=(1,)))
    for value in model.parameters():
        if value.requires_grad:
            value.data.normal_()
    return model.eval()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("qwen2", {"tie_word_embeddings": True}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"mlp_bias": True, "attention_bias": True}),
        ("llama", {"rope_parameters": LLAMA3}),
    ],
)
def test_the_saved_llama_is_the_same_model_and_has_the_parameters_that_vllm_gets(kind, values, tmp_path):
    model = steered(kind, **values)
    with torch.no_grad():
        expected = model(IDS).logits
    sent = dict(merged_parameters(model, lambda _: nullcontext()))
    sent |= dict(steering.zero_biases(model.get_base_model()))
    steering.as_llama(merged(model)).save_pretrained(tmp_path)
    found = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert found.config.architectures == ["LlamaForCausalLM"]
    with torch.no_grad():
        torch.testing.assert_close(found(IDS).logits, expected, rtol=0, atol=1e-5)
    named = dict(found.named_parameters())
    assert sent.keys() == named.keys() and all(torch.equal(sent[name], value) for name, value in named.items())


def test_sliding_attention_cannot_be_a_llama():
    model = steered("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1)
    with pytest.raises(ConfigError, match="sliding attention"):
        steering.llama_values(model.config)


@pytest.mark.parametrize("layers", ["all", (0,), (1, 12)])
def test_the_layers_of_an_adapter_are_read_from_its_folder(layers):
    assert steering.layers_of({"target_modules": steering.target_modules(layers)}) == layers
