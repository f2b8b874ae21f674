"""The tiny model as an engine, for tests that decode rows without a trainer."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM

from tersely.engines.models import load_tokenizer
from tersely.engines.transformers import TransformersEngine


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(str(tiny_model))


@pytest.fixture(scope="module")
def engine(tiny_model, tokenizer):
    return TransformersEngine(AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32"), tokenizer)
