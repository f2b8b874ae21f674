"""A tiny model with a byte tokenizer, prompts over it, and plain greedy samples to compare with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support import tiny

from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.engines.registry import Capabilities
from tersely.eval.decoding.base import Prompt

CAP = 40


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return tiny.save_tiny_model(tmp_path_factory.mktemp("tiny"), seed=3)


@pytest.fixture(scope="session")
def tiny_engine(tiny_folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tersely.engines.transformers import TransformersEngine

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    return TransformersEngine(AutoModelForCausalLM.from_pretrained(tiny_folder).eval(), tokenizer)


def make_prompts(tokenizer, count=6, cap=CAP, context=256):
    def render(messages):
        return tuple(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    found = []
    for i in range(count):
        messages = [{"role": "user", "content": f"{i}+{i}=" + "?" * (i % 3)}]
        found.append(Prompt(f"p{i}", 0, render(messages), cap, messages, render, context))
    return found


@pytest.fixture(scope="session")
def prompts(tiny_engine):
    return make_prompts(tiny_engine.tokenizer)


@pytest.fixture(scope="session")
def prompts_for():
    return make_prompts


@pytest.fixture(scope="session")
def greedy():
    return Sampling(samples=1, temperature=0.0, top_p=1.0, max_new_tokens=CAP)


@pytest.fixture(scope="session")
def warm():
    return Sampling(samples=1, temperature=1.0, top_p=1.0, max_new_tokens=CAP)


class Scripted(Engine):
    """An engine that reads its lines from a script: prompt ids behind the prompt -> text of the whole continuation.

    It goes on from wherever the ids so far are, as a greedy model does, and obeys caps, stop ids and bans.
    """

    capabilities = Capabilities(logprobs=True)

    def __init__(self, tokenizer, traces, probes=None, logprob=-0.01):
        self.tokenizer, self.probes, self.logprob = tokenizer, probes or {}, logprob
        self.traces = {prompt: self.ids(text) for prompt, text in traces.items()}
        self.calls = []

    def ids(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def generate(self, requests, *, temperature=1.0, top_p=1.0, top_k=0, extra_args=None):
        self.calls.append(SimpleNamespace(requests=list(requests), temperature=temperature))
        return [self._one(request) for request in requests]

    def _one(self, request):
        from tersely.engines.base import Generation

        prompt = next(p for p in self.traces if request.prompt_ids[: len(p)] == p)
        done, trace = list(request.prompt_ids[len(prompt) :]), self.traces[prompt]
        rest = trace[len(done) :] if trace[: len(done)] == done else self._probed(done)
        drawn = []
        for token in rest:
            if token in request.banned_ids:
                continue
            drawn.append(token)
            if token in request.stop_ids or len(drawn) == request.max_new_tokens:
                break
        finish = "length"
        if drawn and drawn[-1] == self.tokenizer.eos_token_id:
            finish = "eos"
        elif drawn and drawn[-1] in request.stop_ids:
            finish = "stop"
        logprobs = (self.logprob,) * len(drawn) if request.logprobs else None
        return Generation(tuple(drawn), logprobs, finish)

    def _probed(self, done):
        text = self.tokenizer.decode(done)
        for ending, answer in self.probes.items():
            if text.endswith(ending):
                return self.ids(answer(text) if callable(answer) else answer)
        return self.ids("7}<eos>")


@pytest.fixture
def scripted(tiny_engine):
    """`scripted(text, probes) -> (engine, prompts)` for one prompt."""

    def make(text, probes=None, cap=4000, **more):
        prompts = make_prompts(tiny_engine.tokenizer, count=1, cap=cap, context=None)
        return Scripted(tiny_engine.tokenizer, {prompts[0].prompt_ids: text}, probes, **more), prompts

    return make
