"""The estimate against numbers worked by hand, and against what torch really keeps of a step of the embedded model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tersely.launch.preflight.memory_estimate import SHARDING, Load, Shape, checkpoint_bytes, estimate

GB = 10**9
# 7.5e9 parameters on 64 ranks, mixed precision: the example of arXiv 1910.02054, figure 1
PAPER = Shape(7_500_000_000, 32, 4096, 11008, 32, 32, 128, 32000)


@pytest.mark.parametrize(("sharding", "gigabytes"), [("zero1", 31.4), ("zero2", 16.6), ("zero3", 1.9)])
def test_states_are_those_of_the_zero_paper(sharding, gigabytes):
    found = estimate(PAPER, Load(1, 1, 1, sharding=sharding, ranks=64))
    states = found["weights"] + found["gradients"] + found["optimizer"]
    assert states / GB == pytest.approx(gigabytes, abs=0.06)


def test_plain_precision():
    for half in (True, False):
        found = estimate(PAPER, Load(1, 1, 1, half=half))
        assert [found[name] / PAPER.parameters for name in ("weights", "gradients", "optimizer")] == [4, 4, 8]
        assert found["casts"] / PAPER.parameters == 2 * half
    assert estimate(PAPER, Load(1, 1, 1, sharding="fsdp2", ranks=4))["weights"] == PAPER.parameters
    assert checkpoint_bytes(PAPER, True) == 12 * PAPER.parameters
    assert checkpoint_bytes(PAPER, True, "zero2") == 14 * PAPER.parameters


@pytest.mark.parametrize("sharding", SHARDING)
def test_more_work_never_takes_less_and_more_ranks_never_take_more(sharding):
    load = Load(2, 16, 512, sharding=sharding, ranks=2)
    peak = estimate(PAPER, load)["peak"]
    wider = () if sharding == "none" else ({"half": False},)  # there autocast copies the weights
    for more in ({"micro_rows": 4}, {"rows": 64}, {"tokens": 4096}, {"reference": True}, {"teachers": 1}, *wider):
        assert estimate(PAPER, dataclasses.replace(load, **more))["peak"] >= peak, more
    for less in ({"ranks": 8}, {"checkpointing": True}):
        assert estimate(PAPER, dataclasses.replace(load, **less))["peak"] <= peak, less


def test_vllm_that_sleeps_does_not_add_to_the_update():
    load = Load(4, 64, 4096, vllm_bytes=30 * GB)
    awake, asleep = (estimate(PAPER, dataclasses.replace(load, vllm_sleeps=sleeps)) for sleeps in (False, True))
    assert asleep["peak"] < awake["peak"] and awake["cache"] == 0


@pytest.fixture(scope="module")
def measured():
    """(shape, bytes of states after a step, bytes that autograd keeps of the layers) on real rows."""
    from transformers import AutoModelForCausalLM

    from tersely.launch.preflight.model import shape_of
    from tersely.testbed import model_path

    model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32).train()
    rows, tokens, kept = 4, 128, {}
    ids = torch.randint(0, 400, (rows, tokens))
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.model(input_ids=ids).last_hidden_state
    layers = sum(kept.values())
    optimizer = torch.optim.AdamW(model.parameters())
    hidden.mean().backward()
    model.lm_head.weight.grad = torch.zeros_like(model.lm_head.weight)
    optimizer.step()
    states = list(model.parameters()) + [p.grad for p in model.parameters()]
    states += [t for s in optimizer.state.values() for t in s.values() if t.dim()]
    return shape_of(model.config), sum(t.numel() * t.element_size() for t in states), layers, (rows, tokens)


def test_states_are_what_torch_holds(measured):
    shape, states, _, (rows, tokens) = measured
    found = estimate(shape, Load(rows, rows, tokens, half=False))
    assert found["weights"] + found["gradients"] + found["optimizer"] == states


def test_activations_are_about_what_autograd_keeps(measured):
    shape, _, layers, (rows, tokens) = measured
    found = estimate(shape, Load(rows, rows, tokens, half=False))
    assert 0.8 < found["activations"] / layers < 1.25, found["activations"] / layers


def test_the_states_of_an_adapter_are_what_torch_holds():
    pytest.importorskip("peft", reason="peft is not installed: pip install 'tersely[lora]'")
    from transformers import AutoModelForCausalLM

    from tersely.configs.peft import PeftSpec
    from tersely.engines.adapter import trained_parts
    from tersely.launch.preflight.model import shape_of
    from tersely.testbed import model_path

    specs = (
        PeftSpec(rank=4),
        PeftSpec("dora", rank=2, targets=("q_proj", "down_proj")),
        PeftSpec("steering", layers=(1,)),
    )
    for spec in specs:
        model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
        shape = shape_of(model.config, spec)
        zero_biases = shape.adapter if spec.method == "steering" else 0
        model = trained_parts(model, spec)
        trained = [p for p in model.parameters() if p.requires_grad]
        held = sum(p.numel() for p in model.parameters()) - zero_biases + sum(3 * p.numel() for p in trained)
        assert shape.adapter == sum(p.numel() for p in trained)
        found = estimate(shape, Load(1, 1, 1, half=False, reference=True))
        assert found["weights"] + found["gradients"] + found["optimizer"] == 4 * held
        assert checkpoint_bytes(shape, True) == 12 * shape.adapter


@pytest.mark.parametrize("sharding", SHARDING)
def test_an_adapter_needs_less_than_all_weights(sharding):
    load = Load(2, 16, 512, sharding=sharding, ranks=2)
    adapter = dataclasses.replace(PAPER, adapter=PAPER.parameters // 100)
    assert estimate(adapter, load)["peak"] < estimate(PAPER, load)["peak"] / 2
