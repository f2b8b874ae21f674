"""The real vLLM engine against transformers in float32, and what happens when its weights are stale."""

from __future__ import annotations

import sys

import pytest
import torch

from tersely.rl.engine import GenerationRequest

vllm = pytest.mark.vllm


def requests(count=8, length=12):
    return [GenerationRequest(tuple(range(5, 9 + i % 4)), 1000 + i, length) for i in range(count)]


@pytest.fixture(scope="module")
def engine(tiny_model):
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    from tersely.rl.models import load_tokenizer
    from tersely.rl.vllm_engine import VLLMEngine

    made = VLLMEngine(str(tiny_model), load_tokenizer(str(tiny_model)), max_model_len=128, dtype="float32")
    yield made
    made.close()


@pytest.fixture
def model(tiny_model, engine):
    """The checkpoint's weights in transformers, and in the engine."""
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    engine.sync_weights(loaded, 0)
    return loaded


def largest_gap(model, generations, asked):
    worst = 0.0
    for generation, request in zip(generations, asked, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]])
        with torch.no_grad():
            logps = model(ids).logits.log_softmax(-1)[0, len(request.prompt_ids) - 1 :]
        for place, (token, reported) in enumerate(zip(generation.token_ids, generation.logprobs, strict=True)):
            worst = max(worst, abs(logps[place, token].item() - reported))
    return worst


def test_asking_without_vllm_says_how_to_install(monkeypatch):
    from tersely.rl import vllm_engine

    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'tersely\[vllm\]'.*make engines"):
        vllm_engine.VLLMEngine("x", None)


def test_nothing_of_ours_imports_vllm_before_an_engine_is_made():
    """TRL's trainer module imports it where it is installed; ours do not."""
    import subprocess

    modules = "tersely.rl.vllm_engine, tersely.rl.sampler, tersely.eval.generate, tersely.launch.cli, tersely.rl.objective"
    code = f"import sys, {modules}; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@vllm
def test_greedy_tokens_and_logprobs_equal_transformers(engine, model):
    from tersely.rl.sampler import TransformersEngine

    ours = TransformersEngine(model, engine.tokenizer).generate(requests(), temperature=0)
    theirs = engine.generate(requests(), temperature=0)
    assert [g.token_ids for g in ours] == [g.token_ids for g in theirs]
    assert largest_gap(model, engine.generate(requests(), temperature=1.0), requests()) < 1e-3


@vllm
def test_a_sample_does_not_depend_on_its_batch(engine, model):
    together = [g.token_ids for g in engine.generate(requests(), temperature=1.0)]
    assert together == [g.token_ids for g in engine.generate(requests()[::-1], temperature=1.0)][::-1]
    assert together[3] == engine.generate(requests()[3:4], temperature=1.0)[0].token_ids
    assert len(set(together)) == len(together)


@vllm
def test_caps_and_ends_are_told_apart(engine, model):
    mixed = [GenerationRequest((5, 6, 7), 50 + i, 1 + i) for i in range(6)]
    for request, generation in zip(mixed, engine.generate(mixed, temperature=1.0), strict=True):
        assert len(generation.token_ids) <= request.max_new_tokens
        ended = generation.token_ids[-1] == engine.tokenizer.eos_token_id
        assert generation.finish == ("eos" if ended else "length")
        assert len(generation.logprobs) == len(generation.token_ids)


@vllm
def test_synchronised_weights_are_the_ones_sampled_from(engine, model):
    for version in range(1, 6):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        stale = largest_gap(model, engine.generate(requests(), temperature=1.0), requests())
        engine.sync_weights(model, version)
        fresh = largest_gap(model, engine.generate(requests(), temperature=1.0), requests())
        assert fresh < 5e-3 < stale
    assert engine.facts()["version"] == 5


@vllm
def test_training_through_the_engine_keeps_the_gap_small(engine, model, make_trainer):
    trainer = make_trainer(engine=engine, max_steps=4, learning_rate=1e-2)
    trainer.train()
    gaps = [row["engine_gap/mean"] for row in trainer.state.log_history if "engine_gap/mean" in row]
    assert len(gaps) == 4 and max(gaps) < 1e-3
    assert engine.facts()["version"] == 3


@vllm
def test_weights_that_are_not_synchronised_stop_the_run(engine, model, make_trainer, monkeypatch):
    from tersely.rl.engine_gap import StaleEngineError

    trainer = make_trainer(engine=engine, max_steps=8, learning_rate=5e-2)
    sync = engine.sync_weights
    monkeypatch.setattr(engine, "sync_weights", lambda model, version: sync(model, version) if version == 0 else None)
    with pytest.raises(StaleEngineError, match="holds the weights of step 0"):
        trainer.train()
