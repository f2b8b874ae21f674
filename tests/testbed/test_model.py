"""The shipped weights: small, loadable, sane, and honest: longer work pays on hard problems."""

import json
import random

import pytest
import torch

from tersely.engines.models import load_tokenizer
from tersely.testbed import model_path
from tersely.testbed.measure import attempts, boxed
from tersely.testbed.neutral import CLOSED, PREFILLS
from tersely.testbed.sample import sample
from tersely.testbed.tasks import problems
from tersely.testbed.tokenizer import build_tokenizer
from tersely.testbed.traces import trace


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


def test_size(model):
    assert (model_path() / "model.safetensors").stat().st_size <= 4_000_000
    assert sum(weight.numel() for weight in model.parameters()) <= 1_000_000


def test_configuration_that_engines_rely_on(model, tokenizer):
    config = model.config
    assert not config.tie_word_embeddings and config.head_dim == 32
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
        text = item["problem"] + "".join(piece.text for piece in trace(item["problem"], random.Random(item["id"])))
        assert tokenizer(text).input_ids == built(text).input_ids


def test_transformers_generate_and_the_sampler_agree(model, tokenizer):
    ids = [prompt_of(tokenizer, item["problem"]) for item in problems("test", 6)]
    ours = sample(
        model, ids, max_new_tokens=300, end_id=tokenizer.eos_token_id, pad_id=tokenizer.pad_token_id, temperature=0
    )
    for prompt, completion in zip(ids, ours, strict=True):
        theirs = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=300)[0, len(prompt) :].tolist()
        assert theirs == completion
        text = tokenizer.decode(completion, skip_special_tokens=True)
        assert text.count("</think>") == 1 and boxed(text) is not None


def test_answers_after_a_thought_closed_for_it(model, tokenizer):
    items = problems("test", 40, levels=[1])
    for closed in CLOSED:
        ids = [prompt_of(tokenizer, item["problem"]) + tokenizer(closed + "\n\n").input_ids for item in items]
        found = sample(model, ids, max_new_tokens=40, end_id=tokenizer.eos_token_id, pad_id=tokenizer.pad_token_id)
        answered = [boxed(tokenizer.decode(row, skip_special_tokens=True)) is not None for row in found]
        assert sum(answered) >= 36
        assert max(map(len, found)) < 20


def test_survives_neutral_prefills(model, tokenizer):
    items = problems("test", len(PREFILLS), levels=[2])
    ids = [
        prompt_of(tokenizer, item["problem"]) + tokenizer(text.replace("{n}", "512") + "\n").input_ids
        for item, text in zip(items, PREFILLS, strict=True)
    ]
    found = sample(model, ids, max_new_tokens=300, end_id=tokenizer.eos_token_id, pad_id=tokenizer.pad_token_id)
    answered = [boxed(tokenizer.decode(row, skip_special_tokens=True)) is not None for row in found]
    assert sum(answered) >= len(PREFILLS) - 1


@pytest.mark.slow
def test_longer_work_pays_on_hard_problems_and_easy_ones_are_nearly_solved():
    found = attempts(model_path(), 60, 16)
    rate = {}
    for name, levels in (("easy", (1,)), ("hard", (6, 8))):
        rows = [attempt for attempt in found if attempt.level in levels]
        groups = [rows[start : start + 16] for start in range(0, len(rows), 16)]
        groups = [sorted(group, key=lambda attempt: attempt.length) for group in groups]
        rate[name, "short"] = sum(a.right for g in groups for a in g[:8]) / (8 * len(groups))
        rate[name, "long"] = sum(a.right for g in groups for a in g[8:]) / (8 * len(groups))
    assert rate["hard", "long"] > rate["hard", "short"] + 0.1
    assert rate["easy", "short"] > 0.85 and rate["easy", "long"] > 0.9
