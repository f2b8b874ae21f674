"""Strategies on the real vLLM engine: greedy, they write what they write on transformers, token for token."""

import pytest
import torch
from safetensors.torch import save_file

from tersely.engines.base import GenerationRequest
from tersely.eval.decoding.registry import STRATEGIES

CASES = {
    "vanilla": {},
    "forced_answer": {"budgets": (0, 9, 1000), "answer_tokens": 8},
    "no_thinking": {"prefill": ""},
    "concise": {},
    "reflection_ban": {"keywords": ("a", "e", "i", "q", "w")},
    "answer_convergence": {"agree": 2, "chunk": 9, "probe_tokens": 4, "confidence": 0.5},
    "budget_prompt": {"tokens": 9},
    "thought_terminator": {"deadline": 150, "interval": 12},
    "think_less": {"k": 5},
    "wait_forcing": {"times": 2},
}


def probe(folder, hidden):
    """Random weights: the classes of the prompts differ, and both engines must find the same ones."""
    torch.manual_seed(4)
    sizes = {"w1": (8, hidden), "b1": (8,), "w2": (3, 8), "b2": (3,)}
    weights = {name: torch.randn(size) for name, size in sizes.items()}
    save_file({"mean": torch.zeros(hidden), "scale": torch.ones(hidden), **weights}, folder / "probe.safetensors")
    return {"probe": str(folder / "probe.safetensors"), "budget": 24}


@pytest.mark.vllm
def test_as_on_transformers(tiny_engine, tiny_folder, prompts, greedy, tmp_path):
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    from tersely.engines.vllm import VLLMEngine

    engine = VLLMEngine(str(tiny_folder), tiny_engine.tokenizer, max_model_len=256)
    try:
        cases = {**CASES, "diff_adapt": probe(tmp_path, tiny_engine.model.config.hidden_size)}
        for name, parameters in cases.items():
            strategy = STRATEGIES[name](**parameters)
            there = strategy(engine, prompts, greedy, 0)
            here = strategy(tiny_engine, prompts, greedy, 0)
            facts = [[(d.token_ids, d.finish, d.cost, d.thinking_length) for d in side] for side in (there, here)]
            assert facts[0] == facts[1], name
        # more prompt tokens than one step takes: a seeded prompt must not be cut over two
        crowd = [GenerationRequest((*prompts[0].prompt_ids, 5 + n % 90), n, 4) for n in range(300)]
        assert [len(g.token_ids) for g in engine.generate(crowd, temperature=1.0)].count(4) > 250
    finally:
        engine.close()
