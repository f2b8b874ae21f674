"""The rules that every strategy keeps: the quiet one equals plain sampling, costs add up, ids and seeds are its own."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from tersely.core.errors import ConfigError
from tersely.engines.base import GenerationRequest
from tersely.eval.decoding import spec
from tersely.eval.decoding.registry import STRATEGIES

HUGE = 10**6

QUIET = {
    "vanilla": {},
    "forced_answer": {"budget": HUGE},
    "no_thinking": {},
    "concise": {"instruction": ""},
    "chain_of_draft": {},
    "budget_prompt": {"tokens": HUGE},
    "reflection_ban": {"keywords": ()},
    "answer_convergence": {"agree": HUGE, "chunk": 7, "min_thinking": HUGE},
    "thought_terminator": {"deadline": HUGE, "interval": HUGE},
    "think_less": {"k": HUGE},
    "wait_forcing": {"times": 0},
    "diff_adapt": {"budget": HUGE, "instructions": False},
    "seal": {"alpha": 0.0},
    "cntp": {"n_max": 1},
    "soft_thinking": {"top_n": 1, "patience": HUGE},
    "moi": {"top_n": 1},
    "prompting": {},
    "arm_consensus": {},
}
"""Parameters under which the trigger never fires."""

LOUD = {
    **QUIET,
    "forced_answer": {"budget": 9, "answer_tokens": 8},
    "concise": {},
    "reflection_ban": {"keywords": ["a", "e", "i"]},
    "answer_convergence": {"agree": 1, "chunk": 6, "probe_tokens": 4},
    "thought_terminator": {"deadline": 30, "interval": 8},
    "think_less": {"k": 5},
    "wait_forcing": {"times": 2},
    "diff_adapt": {"budget": 20},
    "seal": {"alpha": 4.0},
    "cntp": {"n_max": 3, "branch_tokens": 5},
    "soft_thinking": {"top_n": 5, "patience": 2, "threshold": 9.0},
    "moi": {"top_n": 6},
    "prompting": {"of": {"name": "hbpo", "budgets": [30]}},
}
PROMPTED = ("no_thinking", "chain_of_draft", "budget_prompt", "arm_consensus")
"""They always change what the model reads: they equal plain sampling from that."""


@pytest.fixture(scope="session")
def files(tmp_path_factory, tiny_engine):
    """A probe that finds everything normal, and a vector."""
    folder, hidden = tmp_path_factory.mktemp("files"), tiny_engine.model.config.hidden_size
    torch.manual_seed(0)
    probe = {
        "mean": torch.zeros(hidden),
        "scale": torch.ones(hidden),
        "w1": torch.zeros(4, hidden),
        "b1": torch.zeros(4),
        "w2": torch.zeros(3, 4),
        "b2": torch.tensor([0.0, 1.0, 0.0]),
    }
    save_file(probe, folder / "probe.safetensors")
    facts = {"layer": "1", "border": "a"}
    save_file({"vector": torch.randn(hidden)}, folder / "vector.safetensors", metadata=facts)
    return {
        "diff_adapt": {"probe": str(folder / "probe.safetensors")},
        "seal": {"vector": str(folder / "vector.safetensors")},
    }


@pytest.fixture
def make(files):
    return lambda name, parameters: spec.choose(name, {**parameters, **files.get(name, {})}).strategy


def test_every_strategy_is_tested():
    assert set(QUIET) == set(LOUD) == set(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_rule_7_a_quiet_strategy_is_plain_greedy_sampling(name, make, tiny_engine, prompts, greedy):
    found = make(name, QUIET[name])(tiny_engine, prompts, greedy, 0)
    if name in PROMPTED:
        for one in found:
            own = [token for token, injected in zip(one.token_ids, one.injected, strict=True) if not injected]
            start = one.prompt_ids + one.token_ids[: len(one.token_ids) - len(own)]
            request = GenerationRequest(start, 0, min(prompts[0].max_new_tokens, 256 - len(start)))
            plain = tiny_engine.generate([request], temperature=0.0)[0]
            assert tuple(own) == plain.token_ids
        return
    plain = STRATEGIES["vanilla"]()(tiny_engine, prompts, greedy, 0)
    assert [d.token_ids for d in found] == [d.token_ids for d in plain]
    assert [(d.finish, d.truncated, d.cost) for d in found] == [(d.finish, d.truncated, d.cost) for d in plain]
    assert len({d.token_ids for d in plain}) > 1, "the prompts are told apart"


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_costs_and_ids_add_up(name, make, tiny_engine, prompts, greedy, warm, temperature):
    sampling = warm if temperature else greedy
    for parameters in (QUIET[name], LOUD[name]):
        for one in make(name, parameters)(tiny_engine, prompts, sampling, 0):
            assert len(one.token_ids) == len(one.injected) > 0
            assert one.cost == len(one.token_ids) + one.extra_tokens == sum(tokens for _, tokens in one.phases)
            assert 0 < one.thinking_length <= len(one.token_ids)
            assert one.finish in ("eos", "length", "forced", "stopped_early")
            assert all(0 <= token < len(tiny_engine.tokenizer) for token in one.token_ids)
            marks = tiny_engine.tokenizer.decode(one.prompt_ids[-20:] + one.token_ids[:10]).count("<think>")
            assert marks >= 1 and (name != "no_thinking" or marks == 1), "thinking is opened once"


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_sample_is_its_own_whatever_the_batch(name, make, tiny_engine, prompts, warm):
    strategy = make(name, LOUD[name])
    together = strategy(tiny_engine, prompts, warm, 0)
    alone = [strategy(tiny_engine, [prompt], warm, 0)[0] for prompt in reversed(prompts)][::-1]
    assert [(d.token_ids, d.cost, d.finish) for d in together] == [(d.token_ids, d.cost, d.finish) for d in alone]
    if name not in ("soft_thinking",):  # deterministic while it thinks
        again = strategy(tiny_engine, prompts, warm, 1)
        assert [d.token_ids for d in again] != [d.token_ids for d in together]


@pytest.mark.parametrize("name", STRATEGIES)
def test_nothing_to_do(name, make, tiny_engine, warm):
    assert make(name, LOUD[name])(tiny_engine, [], warm, 0) == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_prompt_that_fills_the_context(name, make, tiny_engine, prompts_for, warm):
    prompts = [replace(p, context=len(p.prompt_ids)) for p in prompts_for(tiny_engine.tokenizer, count=1, cap=0)]
    one = make(name, LOUD[name])(tiny_engine, prompts, warm, 0)[0]
    assert one.injected.count(False) == 0 and one.truncated


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_context_is_kept(name, make, tiny_engine, prompts_for, warm):
    """Injections may pass the cap of a plain sample, never the model's context."""
    prompts = prompts_for(tiny_engine.tokenizer, count=2, cap=40, context=120)
    for one in make(name, LOUD[name])(tiny_engine, prompts, warm, 0):
        last = max((i for i, injected in enumerate(one.injected) if not injected), default=-1)
        assert last < 0 or len(one.prompt_ids) + last < 120


@pytest.mark.parametrize("name", [name for name, kind in STRATEGIES.items() if kind.needs_marker])
def test_a_model_without_the_marker_is_refused(name, files, tiny_engine):
    from copy import deepcopy

    bare = deepcopy(tiny_engine.tokenizer)
    bare.chat_template = "{{ messages[0].content }}"
    bare.encode = lambda text, **_: list(text.encode())
    chosen = spec.choose(name, {**LOUD[name], **files.get(name, {})})
    with pytest.raises(ConfigError, match=r"</think>"):
        spec.check(chosen, bare, tiny_engine)
    spec.check(chosen, tiny_engine.tokenizer, tiny_engine)


def test_inside_strategies_refuse_an_engine_that_hides_the_model(files, tiny_engine):
    from tersely.engines.vllm import VLLMEngine

    hidden = object.__new__(VLLMEngine)
    for name in ("seal", "cntp", "soft_thinking", "moi"):
        with pytest.raises(ConfigError, match="transformers.*vllm"):
            spec.check(spec.choose(name, {**LOUD[name], **files.get(name, {})}), tiny_engine.tokenizer, hidden)


@pytest.mark.parametrize("name", STRATEGIES)
def test_parameters_are_plain_json(name, files):
    chosen = spec.choose(name, {**LOUD[name], **files.get(name, {})})
    assert json.loads(json.dumps(chosen.parameters)).keys() == chosen.parameters.keys()
