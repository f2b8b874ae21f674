"""A model that cannot be trained is refused with the reason, whatever it lacks."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tersely.core.errors import ConfigError
from tersely.engines.models import load_model, load_tokenizer


@pytest.fixture
def model_without(tiny_model, tmp_path):
    """A copy of the tiny model whose tokenizer lacks some keys of its configuration."""

    def make(*keys, drop_template=False):
        folder = tmp_path / "model"
        shutil.copytree(tiny_model, folder)
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in config.items() if key not in keys}))
        if drop_template:
            (folder / "chat_template.jinja").unlink(missing_ok=True)
        return folder

    return make


def test_what_it_lacks_is_named(model_without):
    with pytest.raises(ConfigError, match="chat_template.jinja"):
        load_tokenizer(str(model_without("chat_template", drop_template=True)))


@pytest.mark.parametrize(("key", "message"), [("pad_token", "has no pad_token. Set"), ("eos_token", "no eos_token")])
def test_special_tokens_that_are_missing(model_without, key, message):
    with pytest.raises(ConfigError, match=message):
        load_tokenizer(str(model_without(key)))


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ConfigError, match="tokenizer"):
        load_tokenizer(str(tmp_path))


def arguments(**given):
    from trl import GRPOConfig

    return GRPOConfig(output_dir="unused", use_cpu=True, **given)


@pytest.mark.parametrize("deepspeed", [False, True])
def test_weights_are_float32_unless_the_launch_keeps_copies_that_are(tiny_model, monkeypatch, deepspeed):
    """As on a GPU: `bf16` is arithmetic, and AdamW's steps at a learning rate of 1e-6 are too small for bfloat16 weights."""
    args = arguments(bf16=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(args, "deepspeed_plugin", object() if deepspeed else None)
    model, _ = load_model(str(tiny_model), args)
    assert model.dtype == (torch.bfloat16 if deepspeed else torch.float32)


def test_a_step_of_the_recipes_is_below_what_bfloat16_weights_can_take():
    """Why: after twenty of them next to nothing has changed."""
    changed = {}
    for dtype in (torch.bfloat16, torch.float32):
        weights = torch.nn.Parameter(torch.linspace(0.01, 0.3, 4000).to(dtype))
        before, optimiser = weights.detach().clone(), torch.optim.AdamW([weights], lr=1e-6, weight_decay=0.0)
        for _ in range(20):
            weights.grad = torch.ones_like(weights)
            optimiser.step()
        changed[dtype] = (weights.detach() != before).float().mean().item()
    assert changed[torch.bfloat16] < 0.1 and changed[torch.float32] == 1.0


def test_weights_that_would_hardly_learn_are_warned_of(tiny_model, recwarn, monkeypatch):
    narrow = {"model_init_kwargs": {"dtype": "bfloat16"}}
    with pytest.warns(UserWarning, match="bf16: true"):
        load_model(str(tiny_model), arguments(**narrow))
    recwarn.clear()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    load_model(str(tiny_model), arguments(bf16=True, **narrow))
    assert not [one for one in recwarn if "hardly learns" in str(one.message)]


def test_the_embedded_model_encodes_any_text_losslessly():
    tokenizer = load_tokenizer("testbed")
    for text in ("Wait, 12 + 7 = 19; \\boxed{19}", "naïve 数学 🙂 \x00 \t\n", "e\u0301 and \u00e9"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
