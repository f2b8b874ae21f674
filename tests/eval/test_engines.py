"""Which engine, which model: names, marks of weights, batches, and errors before anything is loaded."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tersely.checks import SpecError
from tersely.eval import engines

spec = importlib.util.spec_from_file_location("tiny_engines", Path(__file__).parents[1] / "rl" / "conftest.py")
tiny = importlib.util.module_from_spec(spec)
sys.modules["tiny_engines"] = tiny
spec.loader.exec_module(tiny)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_tiny_model(tmp_path_factory.mktemp("model"))


def test_a_mark_of_the_weights(folder, tmp_path):
    mark = engines.identity(str(folder))
    assert mark.startswith(f"{folder} [") and engines.identity(str(folder)) == mark
    other = tiny.save_tiny_model(tmp_path / "other", seed=1)
    assert engines.identity(str(other)).split("[")[1] != mark.split("[")[1]
    assert engines.identity("Qwen/Qwen2.5-1.5B") == "Qwen/Qwen2.5-1.5B"


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("vlm", "did you mean 'vllm'"),
        ("server", "or a server's address such as http://host:8000"),
        ("http://127.0.0.1:9", "is the server up"),
    ],
)
def test_an_engine_that_cannot_be_had(folder, engine, message, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(SpecError, match=message):
        engines.make_evaluator(str(folder), engine)


def test_a_model_that_cannot_be_had(tmp_path):
    with pytest.raises(SpecError, match="cannot be loaded"):
        engines.transformers_evaluator(str(tmp_path / "nothing"), verifier=tiny.HashVerifier())


def test_a_model_in_memory(folder):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    evaluator = engines.transformers_evaluator(model, None, verifier=tiny.HashVerifier())
    assert evaluator.context == 256 and evaluator.batch == 256
    assert evaluator.model == engines.identity(str(folder))


def test_what_the_makers_recommend():
    from transformers import GenerationConfig

    made = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.95, top_k=20)
    assert engines.maker_sampling(made) == {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
    assert engines.maker_sampling(GenerationConfig(do_sample=False)) == {"temperature": 0.0}
    assert engines.maker_sampling(None) == {}
