"""Template, tokens, lengths, memory and disk of real tokenizers and of made-up devices."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from tersely.configs.recipe import Recipe
from tersely.engines.chat import Prompting
from tersely.launch.preflight import model as about
from tersely.launch.preflight.memory_estimate import Shape
from tersely.launch.preflight.time_estimate import Target
from tersely.rl.config.prompt_check import prompt_lengths

BIG = Shape(1_500_000_000, 28, 1536, 8960, 12, 2, 128, 151936)


@pytest.fixture(scope="module")
def tokenizer():
    from tersely.engines.models import load_tokenizer

    return load_tokenizer("testbed")


def arguments(**changes):
    values = {
        "max_completion_length": 256,
        "vllm_max_model_length": None,
        "vllm_gpu_memory_utilization": 0.3,
        "vllm_enable_sleep_mode": False,
        "bf16": True,
        "gradient_checkpointing": False,
        "beta": 0.0,
        "save_total_limit": 3,
        "max_steps": 10,
        "save_steps": 5,
    }
    return SimpleNamespace(**{**values, **changes})


RUN = Recipe.of({"model_name_or_path": "testbed", "micro_batch": 4})


def test_a_template_that_opens_the_thinking_is_said(tokenizer):
    from tersely.rl.rollouts.rollout import Template

    found = list(about.tokenizer_findings(tokenizer, Template.of(tokenizer)))
    assert [finding.level for finding in found] == ["note", "ok"] and "opens <think>" in found[0].text
    same = SimpleNamespace(pad_token="<e>", eos_token="<e>", pad_token_id=1, eos_token_id=1)
    found = list(about.tokenizer_findings(same, Template("<|assistant|>", ())))
    assert [finding.level for finding in found] == ["ok", "warn"]


def test_the_shape_is_the_models(tokenizer):
    from transformers import AutoConfig, AutoModelForCausalLM

    from tersely.testbed import model_path

    shape = about.shape_of(AutoConfig.from_pretrained(model_path()))
    model = AutoModelForCausalLM.from_pretrained(model_path())
    assert shape.parameters == sum(p.numel() for p in model.parameters()) and shape.layers == 4
    assert (shape.heads, shape.kv_heads, shape.head_size, shape.vocabulary) == (3, 3, 32, len(tokenizer))


@pytest.mark.parametrize(
    ("context", "vllm", "words"), [(1024, None, None), (300, None, "the model's context of 300"), (1024, 280, "of 280")]
)
def test_lengths_that_do_not_fit(context, vllm, words):
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=context))
    (finding,) = about.length_findings(50, arguments(vllm_max_model_length=vllm), config)
    assert (finding.level == "fail") == (words is not None)
    if words:
        assert words in finding.text and re.search(r"at most \d+", finding.fix)


def test_the_longest_prompt_counts_the_template(tokenizer):
    import datasets

    rows = [{"prompt": [{"role": "user", "content": text}]} for text in ("1 + 1", "1 + 1 + 1 + 1 + 1")]
    data = datasets.Dataset.from_list(rows)
    short, long = prompt_lengths(tokenizer, data, Prompting())
    assert long > short > 3
    assert prompt_lengths(tokenizer, data, Prompting(prompting_instruction="1 + 1", prefill="1"))[0] > short + 3


@pytest.mark.parametrize(("gigabytes", "level"), [(None, "note"), (8, "fail"), (400, "ok")])
def test_memory_against_the_device(gigabytes, level):
    there = Target(1, None if gigabytes is None else gigabytes << 30, half=True)
    (finding,) = about.memory_findings(BIG, RUN, arguments(), 4096, "none", there)
    assert finding.level == level and "1500.0M parameters" in finding.text
    assert (level == "fail") == ("smaller micro_batch" in finding.fix)


@pytest.mark.parametrize(("share", "level"), [(0.1, "fail"), (0.5, "ok")])
def test_vllm_needs_room_for_one_whole_sequence(share, level):
    run = RUN.replaced(engine="vllm", max_num_seqs=64)
    args = arguments(vllm_gpu_memory_utilization=share, vllm_max_model_length=10240)
    _, finding = about.memory_findings(BIG, run, args, 4096, "none", Target(1, 40 << 30, half=True))
    assert (finding.subject, finding.level) == ("vllm", level)


def test_disk_counts_the_checkpoints_side_by_side():
    args = arguments(save_total_limit=2)
    assert about.disk_finding(BIG, args, True, "none", 10**12).level == "ok"
    assert about.disk_finding(BIG, args, True, "none", None).level == "note", "free space of another machine"
    finding = about.disk_finding(BIG, args, True, "none", 10**9)
    assert finding.level == "fail" and finding.text.startswith("3 checkpoints")


def test_sharding_is_read_from_the_launch(monkeypatch):
    for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_DEEPSPEED_ZERO_STAGE"):
        monkeypatch.delenv(name, raising=False)
    assert about.sharding() == "none"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert about.sharding() == "fsdp2"
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    assert about.sharding() == "zero2"
