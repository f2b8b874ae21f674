"""Training an adapter: what moves, what a checkpoint holds, exact resume, the reference of a KL term."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")

LORA = {"rank": 4, "alpha": 16}
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "learning_rate": 1e-2}
STEERING = {"method": "steering"}
KL = {"name": "kl_penalty", "beta": 0.1}


def adapter(folder) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "adapter_model.safetensors")


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trained_by(make_trainer, tmp_path, peft):
    """(trainer of four steps, its folder), with an adapter in `final`."""
    trainer = make_trainer(peft=peft, **SAVING)
    trainer.train()
    trainer.save_final(tmp_path / "run" / "final")
    return trainer, tmp_path / "run"


def test_only_the_adapter_moves_and_is_saved(make_trainer, tiny_model, tmp_path):
    trainer, folder = trained_by(make_trainer, tmp_path, LORA)
    base = load_file(tiny_model / "model.safetensors")
    state = {
        name.replace(".base_layer.", "."): value for name, value in trainer.model.get_base_model().state_dict().items()
    }
    assert all(torch.equal(value, state[name]) for name, value in base.items())
    assert any(value.abs().sum() > 0 for name, value in adapter(folder / "final").items() if "lora_B" in name)
    for saved in ("checkpoint-2", "checkpoint-4", "final"):
        assert not list((folder / saved).glob("model*.safetensors"))
        stored = json.loads((folder / saved / "adapter_config.json").read_text())
        assert stored["base_model_name_or_path"] == str(tiny_model)
    assert sum(f.stat().st_size for f in (folder / "checkpoint-4").glob("adapter_model*")) < 60_000


@pytest.mark.parametrize("peft", [LORA, {**LORA, "method": "dora"}, STEERING], ids=["lora", "dora", "steering"])
def test_a_resumed_run_equals_one_that_was_not_interrupted(make_trainer, tmp_path, peft):
    recipe = {**SAVING, "peft": peft, "advantage": "entropy_shaped", "loss": KL}
    make_trainer(**recipe).train()
    expected = adapter(tmp_path / "run" / "checkpoint-4")
    again = make_trainer(**recipe, run_dir=str(tmp_path / "again"))
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert equal(adapter(tmp_path / "again" / "checkpoint-4"), expected)
    assert not equal(expected, adapter(tmp_path / "run" / "checkpoint-2"))


@pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias")
def test_a_steering_run_trains_and_saves_vectors_alone(make_trainer, tmp_path, tiny_model):
    """A folder that plain peft loads, and that has one vector of the hidden size per chosen layer."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    trainer = make_trainer(peft={**STEERING, "layers": [1]}, **SAVING)
    base = {name: value.clone() for name, value in trainer.model.get_base_model().state_dict().items()}
    trainer.train()
    trainer.save_final(tmp_path / "run" / "final")
    after = trainer.model.get_base_model().state_dict()
    assert [name for name in base if not torch.equal(base[name], after[name])] == [
        "model.layers.1.mlp.down_proj.beft_bias.default"
    ]
    (vector,) = adapter(tmp_path / "run" / "final").values()
    assert vector.numel() == trainer.model.config.hidden_size and vector.abs().sum() > 0
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32"), str(tmp_path / "run" / "final")
    )
    ids = torch.arange(5, 15).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(ids).logits, trainer.model.eval()(ids).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("peft", [LORA, STEERING], ids=["lora", "steering"])
def test_the_reference_is_the_base_with_the_adapter_off(make_trainer, tiny_model, peft):
    from transformers import AutoModelForCausalLM

    trainer = make_trainer(peft=peft, loss=KL, learning_rate=5e-2)
    trainer.train()
    assert trainer.ref_model is None and set(trainer.model.peft_config) == {"default"}
    ids = torch.arange(5, 15).unsqueeze(0)
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")(ids).logits
        with trainer.reference() as reference:
            torch.testing.assert_close(reference(ids).logits, expected, rtol=0, atol=1e-6)
        assert (trainer.model(ids).logits - expected).abs().max() > 1e-3


@pytest.mark.parametrize("peft", [LORA, STEERING], ids=["lora", "steering"])
def test_an_adapter_is_trained_further_from_where_it_is(make_trainer, tmp_path, peft):
    """As the next stage of a run does. The reference is the policy that the stage starts from, as with all weights."""
    folder = trained_by(make_trainer, tmp_path, peft)[1]
    start = adapter(folder / "final")
    recipe = {**SAVING, "peft": peft, "loss": KL, "model_name_or_path": str(folder / "final")}
    trainer = make_trainer(**recipe, run_dir=str(tmp_path / "next"))
    trainer.train()
    moved = adapter(tmp_path / "next" / "checkpoint-4")
    assert moved.keys() == start.keys() and not equal(moved, start)
    frozen = {name: value for name, value in trainer.model.state_dict().items() if "ref" in name.split(".")}
    assert frozen and all(torch.equal(value, start[name.replace(".ref", "")]) for name, value in frozen.items())
    assert not (tmp_path / "next" / "checkpoint-4" / "ref").exists()
    again = make_trainer(**recipe, run_dir=str(tmp_path / "again"))
    again.train(resume_from_checkpoint=str(tmp_path / "next" / "checkpoint-2"))
    assert equal(adapter(tmp_path / "again" / "checkpoint-4"), moved)
