"""Teachers in a real trainer: their prompts, their distributions, and a reference model that follows the policy."""

from __future__ import annotations

import contextlib

import pytest
import torch
from support.tiny import save_tiny_model
from transformers import AutoModelForCausalLM, TrainerCallback

from tersely.core.divergence import kl_divergence

OPSDC = {"name": "opsdc", "instruction": "Be brief."}


def moved(model, scale=0.1):
    """Weights that are not the reference's."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn_like(parameter))


def whole_logp(model, prompt, completion, temperature=1.0):
    """(T, V) log-probs at the completion's tokens, from the model's own logits."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion]])).logits
    return (logits[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)


def rows_of(batch):
    """(prompt, completion) ids of every row, without padding."""
    keys = ("prompt", "completion")
    return [
        [batch[f"{key}_ids"][i][batch[f"{key}_mask"][i].bool()].tolist() for key in keys]
        for i in range(len(batch["prompt_ids"]))
    ]


def after(trainer, instruction, prompt):
    text = trainer.processing_class.decode(prompt)
    return trainer.processing_class.encode(text.replace("<user>", f"<user>{instruction}\n\n"))


@pytest.mark.parametrize("peft", [None, {"rank": 4}], ids=["weights", "adapter"])
def test_the_values_are_those_of_the_whole_distributions(make_trainer, peft):
    trainer = make_trainer(
        loss=OPSDC | {"update_steps": None}, sampling={"name": "fixed", "temperature": 0.8}, peft=peft
    )
    moved(trainer.model)
    batch = trainer.make_batch(trainer.prompts.at(0))
    logp, entropy, compared = trainer.teachers(trainer.model, batch)
    for i, (prompt, completion) in enumerate(rows_of(batch)):
        student = whole_logp(trainer.model, prompt, completion, 0.8)
        with trainer.model.disable_adapter() if peft else contextlib.nullcontext():
            reference = trainer.model if peft else trainer.ref_model
            teacher = whole_logp(reference, after(trainer, "Be brief.", prompt), completion, 0.8)
        count = len(completion)
        expected = kl_divergence(student, teacher)
        assert expected.mean() > 0.01
        assert torch.allclose(compared["kl"][i, :count], expected, atol=1e-5)
        assert not compared["kl"][i, count:].any()
        assert torch.allclose(logp[i, :count], student[range(count), completion], atol=1e-5)
        assert torch.allclose(entropy[i, :count], -(student.exp() * student).sum(-1), atol=1e-5)


def test_the_reference_has_the_weights_of_the_last_update(make_trainer):
    seen = {}

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, model, **_):
            seen[state.global_step] = {name: value.clone() for name, value in model.state_dict().items()}

    trainer = make_trainer(loss=OPSDC | {"update_steps": 2}, max_steps=3)
    trainer.add_callback(Watch())
    trainer.train()
    reference = trainer.ref_model.state_dict()
    assert all(torch.equal(reference[name], value) for name, value in seen[2].items())
    assert any(not torch.equal(reference[name], value) for name, value in seen[3].items())
    lines = [line for line in trainer.state.log_history if "opsdc/kl" in line]
    assert len(lines) == 3 and all(line["opsdc/kl"] > 0 and line["grad_norm"] > 0 for line in lines)


@pytest.mark.parametrize("peft", [{"rank": 4}, {"method": "steering"}], ids=["lora", "steering"])
def test_the_reference_of_an_adapter_is_the_adapter_of_the_last_update(make_trainer, peft):
    pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")
    seen = {}

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, model, **_):
            seen[state.global_step] = adapters(model)

    def adapters(model):
        """Copy and trained parameters by their common name."""
        named = {"ref": {}, "default": {}}
        for name, value in model.state_dict().items():
            for which in ("ref", "default"):
                if which in name.split("."):
                    named[which][name.replace(f".{which}", "")] = value.clone()
        return named["ref"], named["default"]

    trainer = make_trainer(loss=OPSDC | {"update_steps": 2}, max_steps=3, peft=peft)
    trainer.add_callback(Watch())
    trainer.train()
    reference, trained = adapters(trainer.model)
    assert reference.keys() == trained.keys() == seen[2][1].keys()
    assert all(torch.equal(reference[name], value) for name, value in seen[2][1].items())
    assert any(not torch.equal(reference[name], value) for name, value in trained.items())


def test_a_loss_with_two_models(make_trainer, tmp_path):
    other = save_tiny_model(tmp_path / "other", seed=7)
    loss = {"name": "aligndistil", "teacher": str(other), "instruction": None}
    trainer = make_trainer(loss=loss, aggregate="sequence", max_steps=1)
    batch = trainer.make_batch(trainer.prompts.at(0))
    *_, compared = trainer.teachers(trainer.model, batch)
    teacher = AutoModelForCausalLM.from_pretrained(other)
    for i, (prompt, completion) in enumerate(rows_of(batch)):
        p, q = (whole_logp(model, prompt, completion) for model in (teacher, trainer.ref_model))
        weight = 15 * (p.exp() - q.exp()).abs().sum(-1) + 1e-3
        assert torch.allclose(compared["weight"][i, : len(completion)], weight, rtol=1e-4)
