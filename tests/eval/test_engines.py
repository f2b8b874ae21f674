"""Which engine, which model: names, marks of weights, batches, and errors before anything is loaded."""

import importlib.util

import pytest
from support import tiny

from tersely.core.errors import ConfigError
from tersely.eval import engines


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
        ("vlm", "'vllm'"),
        *((name, "http://host:8000") for name in ("server", "http://", "https:///v1", "http:")),
        ("http://127.0.0.1:9", "127.0.0.1:9"),
    ],
)
def test_an_engine_that_cannot_be_had(folder, engine, message, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(ConfigError, match=message):
        engines.make_evaluator(str(folder), engine)


def test_a_model_that_cannot_be_had(tmp_path):
    with pytest.raises(ConfigError, match="cannot load"):
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


def test_vllm_reserves_the_longest_prompt_and_its_answer(folder, tmp_path, monkeypatch):
    """Not the model's whole context; strategies get room for what they add. The GPU is the evaluation's alone."""
    from tersely.engines import vllm as vllm_engine
    from tersely.engines.models import load_tokenizer
    from tersely.eval.context import STRATEGY_TOKENS
    from tersely.launch.cli.eval import main

    asked = []

    class Stopped(Exception):
        pass

    def stop(engine, model, tokenizer, **sizes):
        asked.append(sizes)
        raise Stopped

    monkeypatch.setattr(vllm_engine.VLLMEngine, "__init__", stop)
    monkeypatch.setattr(engines, "_context", lambda location: 131072)
    problems = ["1+1=", "how much is 1+1? " * 20]
    rows = "".join(f'{{"problem": "{problem}", "answer": "2"}}\n' for problem in problems)
    (tmp_path / "sums.jsonl").write_text(rows)
    argv = [str(folder), "--benchmarks", str(tmp_path / "sums.jsonl"), "--out", str(tmp_path / "out")]
    argv += ["--engine", "vllm", "--instruction", ""]
    prompt = [{"role": "user", "content": problems[1].strip()}]
    longest = len(
        load_tokenizer(str(folder)).apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    )
    for more in (
        ["--max-new-tokens", "700"],
        ["--max-new-tokens", "700", "--strategy", "vanilla", "--strategy", "no_thinking"],
        ["--max-model-len", "900", "--gpu-memory-utilization", "0.5"],
    ):
        with pytest.raises(Stopped):
            main([*argv, *more])
    assert [sizes["gpu_memory_utilization"] for sizes in asked] == [0.9, 0.9, 0.5]
    lengths = [sizes["max_model_len"] for sizes in asked]
    assert abs(lengths[0] - (longest + 700)) <= 1 and lengths[1:] == [lengths[0] + STRATEGY_TOKENS, 900]


def test_the_final_model_of_a_run_directory(tmp_path, capsys):
    from tersely.eval.engines import trained_model

    run = tmp_path / "run"
    (run / "final").mkdir(parents=True)
    assert trained_model(str(run)) == str(run) and trained_model("hub/id") == "hub/id"
    (run / "final" / "config.json").write_text("{}")
    assert trained_model(str(run)) == str(run / "final") and "final model" in capsys.readouterr().out
    (run / "config.json").write_text("{}")
    assert trained_model(str(run)) == str(run)


@pytest.mark.parametrize(
    "engine, there, gpu, told",
    [
        ("transformers", True, True, True),
        ("vllm", True, True, False),
        ("transformers", False, True, False),
        ("transformers", True, False, False),
    ],
)
def test_vllm_is_recommended_where_it_can_be_used(monkeypatch, engine, there, gpu, told):

    import torch

    from tersely.eval.engines import faster_engine

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if there else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert (faster_engine(engine) is not None) == told
