"""`tersely merge`, and the paths that read an adapter: loading, evaluation, merged weights."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")

from tersely.configs.peft import PeftSpec
from tersely.core.errors import ConfigError
from tersely.engines import steering
from tersely.engines.adapter import adapter_only, merged_parameters, new_adapter
from tersely.engines.chat import Prompting
from tersely.launch.cli.merge import main

IDS = torch.arange(5, 20).unsqueeze(0)


@pytest.fixture(params=[PeftSpec("lora", 4), PeftSpec("dora", 4), PeftSpec("steering")], ids=lambda spec: spec.method)
def adapter(request, tiny_model, tmp_path):
    """(PeftModel with a random adapter, its saved folder)."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = get_peft_model(base, new_adapter(request.param, base))
    torch.manual_seed(1)
    for value in model.parameters():
        if value.requires_grad:
            value.data.add_(0.1 * torch.randn_like(value))
    folder = tmp_path / "final"
    model.save_pretrained(str(folder))
    adapter_only(folder)
    Prompting(instruction="Be brief.").save(str(folder))
    return model.eval(), folder


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_a_merged_folder_is_the_same_model_and_prompting(adapter, tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM

    from tersely.engines.models import load_tokenizer
    from tersely.eval.trained_prompt import saved_prompting

    model, folder = adapter
    assert main([str(folder), "--out", str(tmp_path / "merged")]) == 0
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(logits(found), logits(model), rtol=0, atol=1e-4)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert load_tokenizer(str(tmp_path / "merged")).chat_template == load_tokenizer(str(tiny_model)).chat_template
    assert saved_prompting(str(tmp_path / "merged"))[0].instruction == "Be brief."
    with pytest.raises(ConfigError, match="--out"):
        main([str(folder), "--out", str(tmp_path / "merged")])
    with pytest.raises(ConfigError, match="a whole model"):
        main([str(tiny_model), "--out", str(tmp_path / "other")])


def test_merged_weights_leave_the_model_as_it_is(adapter, tiny_model):
    """Bit for bit, also for bfloat16 weights, where adding and subtracting would not."""
    from contextlib import nullcontext

    from transformers import AutoModelForCausalLM

    model, _ = adapter
    expected = logits(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = {name: value.clone() for name, value in merged_parameters(model, lambda _: nullcontext())}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    whole = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    steered = steering.is_steered(model)
    if steered:
        steering.add_biases(steering.steered_layers(whole, "all").values())
    assert found.keys() == dict(whole.named_parameters()).keys()
    whole.load_state_dict(found)
    torch.testing.assert_close(logits(whole), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=0)

    half = model.get_base_model()
    for value in half.parameters():
        value.data = value.data.bfloat16() if not value.requires_grad else value.data
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = {name: value.clone() for name, value in merged_parameters(model, lambda _: nullcontext())}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    changed = "down_proj.bias" if steered else "up_proj.weight"
    assert found[f"model.layers.0.mlp.{changed}"].dtype == torch.float32


def test_an_adapter_is_evaluated_with_its_base(adapter, tmp_path):
    from tersely.eval.engines import trained_model as resolved
    from tersely.eval.engines import transformers_evaluator

    model, folder = adapter
    assert resolved(str(tmp_path)) == str(folder), "the run's folder leads to its adapter"
    evaluator = transformers_evaluator(str(folder))
    try:
        torch.testing.assert_close(logits(evaluator.engine.model.cpu().float()), logits(model), rtol=0, atol=1e-4)
        assert evaluator.prompting.instruction == "Be brief." and str(folder) in evaluator.model
    finally:
        evaluator.verifier.close()


def test_an_adapter_of_another_kind_or_shape_is_named(adapter, tmp_path):
    from tersely.engines.models import load_frozen

    model, folder = adapter
    stored = json.loads((folder / "adapter_config.json").read_text())
    change = {"target_modules": ["v_proj"]} if steering.is_steered(model) else {"r": 8}
    (folder / "adapter_config.json").write_text(json.dumps({**stored, **change}))
    with pytest.raises(ConfigError, match="adapter"):
        load_frozen(str(folder))
    (folder / "adapter_config.json").write_text(json.dumps({**stored, "peft_type": "IA3"}))
    with pytest.raises(ConfigError, match="IA3.*LORA"):
        load_frozen(str(folder))
    assert load_file(folder / "adapter_model.safetensors")
