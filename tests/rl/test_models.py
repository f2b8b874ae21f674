"""A model that cannot be trained is refused with the reason, whatever it lacks."""

from __future__ import annotations

import json
import shutil

import pytest

from tersely.checks import SpecError
from tersely.rl.models import load_tokenizer


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
    with pytest.raises(SpecError, match="has no chat template.*chat_template.jinja"):
        load_tokenizer(str(model_without("chat_template", drop_template=True)))


@pytest.mark.parametrize(
    ("key", "message"), [("pad_token", "has no pad_token; set one"), ("eos_token", "no eos_token")]
)
def test_special_tokens_that_are_missing(model_without, key, message):
    with pytest.raises(SpecError, match=message):
        load_tokenizer(str(model_without(key)))


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(SpecError, match="its tokenizer cannot be loaded"):
        load_tokenizer(str(tmp_path))


def test_the_embedded_model_encodes_any_text_losslessly():
    tokenizer = load_tokenizer("testbed")
    for text in ("Wait, 12 + 7 = 19; \\boxed{19}", "naïve 数学 🙂 \x00 \t\n", "e\u0301 and \u00e9"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
