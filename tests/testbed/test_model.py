"""The shipped weights: small, loadable, able to answer without a thought, and worth shortening."""

import json
import random
import re

import pytest
import torch

from tersely.engines.base import GenerationRequest
from tersely.engines.models import load_tokenizer
from tersely.engines.transformers import TransformersEngine
from tersely.eval.testbed_properties import properties, sample_model
from tersely.testbed import model_path
from tersely.testbed.families import CAP, FAMILIES
from tersely.testbed.families.problems import problems
from tersely.testbed.families.writing import draw_habits
from tersely.testbed.neutral import CLOSED, PREFILLS
from tersely.testbed.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_path()).eval()


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path())


def prompt_of(tokenizer, problem):
    messages = [{"role": "user", "content": problem}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


def sampled(model, tokenizer, prompts, cap=CAP, temperature=1.0):
    """One completion per prompt, token ids."""
    requests = [GenerationRequest(tuple(ids), seed, cap) for seed, ids in enumerate(prompts)]
    found = TransformersEngine(model, tokenizer).generate(requests, temperature=temperature)
    return [list(generation.token_ids) for generation in found]


def boxed(text):
    match = re.search(r"\\boxed\{(\d+)\}", text.rsplit("</think>", 1)[-1])
    return match and match[1]


def test_size(model):
    assert (model_path() / "model.safetensors").stat().st_size <= 6_000_000
    assert sum(weight.numel() for weight in model.parameters()) <= 1_500_000


def test_configuration_that_engines_rely_on(model, tokenizer):
    config = model.config
    assert config.model_type == "qwen2" and not config.tie_word_embeddings and config.head_dim == 32
    assert config.max_position_embeddings >= 1024
    assert config.vocab_size == len(load_tokenizer("testbed"))
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id != tokenizer.pad_token_id
    assert model.dtype == torch.float32


def test_shipped_tokenizer_is_the_one_in_the_code(tokenizer):
    """As `load_tokenizer` reads it; transformers' AutoTokenizer makes a Qwen2 tokenizer of it, with the same ids."""
    built, loaded = build_tokenizer(), load_tokenizer("testbed")
    assert loaded.chat_template == built.chat_template == tokenizer.chat_template
    assert json.loads(loaded.backend_tokenizer.to_str()) == json.loads(built.backend_tokenizer.to_str())
    for item in problems("test", 60):
        family = FAMILIES[item["family"]]
        pieces = family.trace(item["problem"], random.Random(item["id"]), draw_habits(random.Random(0), 8.0, 0.5))
        text = item["problem"] + "".join(piece.text for piece in pieces)
        assert tokenizer(text).input_ids == built(text).input_ids


def test_transformers_generate_and_the_engine_agree(model, tokenizer):
    ids = [prompt_of(tokenizer, item["problem"]) for item in problems("test", 6)]
    for prompt, completion in zip(ids, sampled(model, tokenizer, ids, temperature=0), strict=True):
        theirs = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=CAP)[0, len(prompt) :].tolist()
        assert theirs == completion


def test_answers_after_a_thought_closed_for_it(model, tokenizer):
    items = problems("test", 42, levels=[1])
    for closed in CLOSED:
        ids = [prompt_of(tokenizer, item["problem"]) + tokenizer(closed + "\n\n").input_ids for item in items]
        found = sampled(model, tokenizer, ids, cap=40)
        answered = [boxed(tokenizer.decode(row, skip_special_tokens=True)) is not None for row in found]
        assert sum(answered) >= 38
        assert sum(len(row) < 20 for row in found) >= 38


def test_survives_neutral_prefills(model, tokenizer):
    items = problems("test", len(PREFILLS), levels=[2])
    ids = [
        prompt_of(tokenizer, item["problem"]) + tokenizer(text.replace("{n}", "512") + "\n").input_ids
        for item, text in zip(items, PREFILLS, strict=True)
    ]
    found = sampled(model, tokenizer, ids)
    answered = [boxed(tokenizer.decode(row, skip_special_tokens=True)) is not None for row in found]
    assert sum(answered) >= len(PREFILLS) - 1


@pytest.mark.slow
def test_thinking_pays_and_budgets_for_problems_are_worth_something(tmp_path):
    """A small sample of what `tersely testbed measure` prints, with room for its noise."""
    found = {item.name: item.value.estimate for item in properties(sample_model("testbed", tmp_path, 20, 6, seed=7))}
    assert 0.8 < found["accuracy"] < 0.95
    assert found["loss of forced answers at half of the thinking"] > 0.15
    assert found["loss without thinking"] > 0.3
    assert all(found[f"waste, {family}"] > 1.5 for family in FAMILIES)
    assert found["loss of a uniform cap at half of the tokens"] > 0.08
    assert found["loss of the best allocation at half"] < 0.04
