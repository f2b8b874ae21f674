"""The cold start: a short run from nothing writes a loadable model, the same twice, and learns."""

import re

import pytest
import torch

from tersely.launch.cli.testbed_make import main
from tersely.testbed import make as making
from tersely.testbed.make import LONGEST, batches, examples, make
from tersely.testbed.tasks import split_of
from tersely.testbed.tokenizer import build_tokenizer
from tersely.testbed.traces import MIXTURE


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_prompts_are_those_of_the_chat_template(tokenizer):
    plain = 0
    for example in next(examples(tokenizer, 0, chunk=60)):
        text = tokenizer.decode(example.ids)
        problem = re.match(r"<\|user\|>(What is [\d +-]+\?)<", text)
        if problem:
            messages = [{"role": "user", "content": problem.group(1)}]
            assert text.startswith(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
            plain += 1
    assert plain > 20


def test_only_completions_are_trained_and_they_end(tokenizer):
    for example in next(examples(tokenizer, 1, chunk=60)):
        start = example.ids.index(tokenizer.convert_tokens_to_ids("<think>")) + 2
        assert not any(example.weights[:start])
        assert example.ids[-1] == tokenizer.eos_token_id and example.weights[-1] == 1.0
        assert len(example.ids) == len(example.weights) <= LONGEST


def test_all_traces_come_from_the_train_split(tokenizer):
    for example in next(examples(tokenizer, 2, chunk=120)):
        problem = re.search(r"What is [\d +-]+\?", tokenizer.decode(example.ids)).group()
        assert split_of(problem) == "train"


def test_batches_pad_without_weight(tokenizer):
    ids, weights = next(batches(tokenizer, 0, 1024))
    assert ids.shape == weights.shape and ids.numel() <= 1024 + LONGEST
    assert not weights[ids == tokenizer.pad_token_id].any()


def small(monkeypatch):
    monkeypatch.setattr(making, "CHUNK", 64)
    monkeypatch.setattr(making, "WARMUP", 3)


def test_a_short_run_writes_the_same_loadable_model_twice(monkeypatch, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    small(monkeypatch)
    losses = [make(tmp_path / name, 3, 12_000, batch_tokens=1024, progress=False) for name in "ab"]
    assert losses[0] == losses[1]
    one, two = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in "ab")
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert (tmp_path / "a" / "chat_template.jinja").exists()
    assert AutoTokenizer.from_pretrained(tmp_path / "a")("47 + 38").input_ids == build_tokenizer()("47 + 38").input_ids


def test_loss_falls(monkeypatch, tmp_path):
    small(monkeypatch)
    early = make(tmp_path / "early", 0, 2_000, batch_tokens=1024, progress=False)
    late = make(tmp_path / "late", 0, 40_000, batch_tokens=1024, progress=False, mixture=MIXTURE)
    assert late < early - 0.3


def test_main_says_what_it_wrote(monkeypatch, tmp_path, capsys):
    small(monkeypatch)
    assert main(["--out", str(tmp_path / "model"), "--tokens", "2e3", "--seed", "1"]) == 0
    assert "model: last loss" in capsys.readouterr().out
