"""Prompts are checked before a model is loaded: template, system role, vocabulary, length of every prompt."""

import json
import shutil
from types import SimpleNamespace

import datasets
import pytest

from tersely.core.errors import ConfigError
from tersely.engines.chat import Prompting
from tersely.engines.model_checks import check_template, check_vocabulary
from tersely.engines.models import load_tokenizer
from tersely.eval.engines import transformers_evaluator
from tersely.launch.cli import train
from tersely.rl.config.prompt_check import prompt_lengths, refuse_long

NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}{{ m.content }}{% endfor %}"
)
DROPS_SYSTEM = "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}"


@pytest.fixture
def tokenizer(tiny_model):
    return load_tokenizer(str(tiny_model))


@pytest.mark.parametrize(
    ("template", "system", "words"),
    [
        (NO_SYSTEM, "You count.", "rejects a system message"),
        (DROPS_SYSTEM, "You count.", "drops the system message"),
        ("{{ nothing.at.all }}", None, "fails on a user message"),
        ("{% for m in messages %}{{ m.content }}", None, "fails on a user message"),
        ("hello", None, "drops the user's message"),
    ],
)
def test_templates_that_cannot_be_used(tokenizer, template, system, words):
    tokenizer.chat_template = template
    with pytest.raises(ConfigError, match=words):
        check_template(tokenizer, None, system)


def test_a_template_without_a_system_role_is_fine_without_a_system_prompt(tokenizer):
    tokenizer.chat_template = NO_SYSTEM
    check_template(tokenizer)


def test_one_long_prompt_far_behind_is_found(tokenizer):
    problems = ["1 + 1"] * 2000 + ["9" * 300] + ["1 + 1"] * 10
    rows = [{"prompt": [{"role": "user", "content": text}], "problem": text} for text in problems]
    data = datasets.Dataset.from_list(rows)
    lengths = prompt_lengths(tokenizer, data, Prompting())
    args = SimpleNamespace(max_completion_length=16, vllm_max_model_length=None)
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=256))
    with pytest.raises(ConfigError, match=r"1 of 2011.*max_characters: 5"):
        refuse_long(lengths, data, args, config)
    refuse_long(lengths[:2000], data, args, config)
    args.vllm_max_model_length = 20
    with pytest.raises(ConfigError, match="vllm_max_model_length of 20|the model's context"):
        refuse_long(lengths, data, args, config)


def test_a_tokenizer_larger_than_the_model_and_one_without_pad(tiny_model, tmp_path, tokenizer):
    small = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=len(tokenizer) - 1))
    with pytest.raises(ConfigError, match="resize_token_embeddings"):
        check_vocabulary("x", tokenizer, small)
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            values = json.loads((folder / name).read_text())
            values.pop("pad_token", None)
            (folder / name).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="pad_token"):
        load_tokenizer(str(folder))
    evaluator = transformers_evaluator(str(folder))
    evaluator.verifier.close()
    assert evaluator.tokenizer.pad_token_id == evaluator.tokenizer.eos_token_id


def test_a_dry_run_shows_the_whole_prompt_and_its_tokens(tiny_model, tmp_path, capsys):
    data = tmp_path / "a.jsonl"
    data.write_text('{"problem": "What is 1 + 1?", "answer": "2"}\n')
    given = ["--model_name_or_path", str(tiny_model), "--dataset", f"{{path: {data}}}", "--system_prompt", "You count."]
    assert (
        train.main(["--config", "testbed/grpo", "--dry-run", *given, "--show-tokens", "--max_completion_length", "64"])
        == 0
    )
    printed = capsys.readouterr().out
    assert "<system>You count.<user>What is 1 + 1?\nPlease reason step by step" in printed
    assert "as tokens: [" in printed
