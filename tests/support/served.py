"""What tests of served rollouts share: two vLLM servers with a tied model, requests, and the gap to the trainer's log-probs.

All tests of a run share one pair, and its processes start with vLLM loaded (support/warm.py).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from support import gloo_weights
from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature
from tersely.engines.base import GenerationRequest

KEY = "servers-test-key"
CONTEXT = 4096
"""Tokens: a judge's question is long where each byte is a token."""


class ServerPair:
    """Two servers that take weights over gloo as well as by folder, and adapt temperatures. A server that ended is started
    again on its port by `revive`."""

    def __init__(self, folder: Path, python: str = sys.executable):
        self.folder, self.python = folder, python
        self._plugin = gloo_weights.installed(folder)
        self._starts = 2
        self.servers = self._start({0: None, 1: None})

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]

    def pid(self, index: int) -> int:
        """The process that answers, as its log has it."""
        return int(re.findall(r"Started server process \[(\d+)\]", self.servers[index].log.read_text())[-1])

    def revive(self) -> None:
        for index, server in enumerate(self.servers):
            if server.ended:
                server.close()
                (self.servers[index],) = self._start({self._starts: server.port})
                self._starts += 1

    def close(self) -> None:
        for server in self.servers:
            server.close()
        assert all(server.ended for server in self.servers)

    def _start(self, ports: dict[int, int | None]) -> list:
        """Servers with these numbers, at the same time."""
        from tersely.engines.server.launch import VLLMServer

        def start(number: int):
            return VLLMServer(
                str(self.folder),
                self.folder / f"server_{number}.log",
                port=ports[number],
                max_model_len=CONTEXT,
                deadline_s=500,
                sampling=HAPOTemperature(),
                options=("--weight-transfer-config", '{"backend": "gloo"}'),
            )

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
            patch.setenv("TERSELY_SERVER_KEY", KEY)
            patch.setenv("PYTHONPATH", self._plugin)
            patch.setattr(sys, "executable", self.python)
            return list(pool.map(start, ports))


@pytest.fixture(scope="session")
def server_pair_of_the_run(tiny_model, tmp_path_factory, warm_vllm) -> Iterator[ServerPair]:
    pair = ServerPair(tied_model(tiny_model, tmp_path_factory.mktemp("served")), warm_vllm)
    yield pair
    pair.close()


@pytest.fixture
def server_pair(server_pair_of_the_run, monkeypatch) -> ServerPair:
    """Both servers run, and this process has their key."""
    server_pair_of_the_run.revive()
    monkeypatch.setenv("TERSELY_SERVER_KEY", KEY)
    return server_pair_of_the_run


def tied_model(tiny_model, folder):
    """Small models are tied, and a CPU server packs their head again after each synchronisation.

    Its generation config recommends a sampling, as Qwen2.5's does; no request may be sampled by it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from tersely.engines.models import load_tokenizer

    config = AutoConfig.from_pretrained(tiny_model, tie_word_embeddings=True, max_position_embeddings=CONTEXT)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    load_tokenizer(str(tiny_model)).save_pretrained(folder)  # AutoTokenizer would add a token of the family's
    recommended = {"do_sample": True, "top_k": 1, "repetition_penalty": 1.3, "min_p": 0.5, "temperature": 0.2}
    GenerationConfig(eos_token_id=config.eos_token_id, **recommended).save_pretrained(folder)
    return folder


def requests(count=12, length=12):
    return [GenerationRequest(tuple(range(5, 9 + i % 4)), 1000 + i, length) for i in range(count)]


def largest_gap(model, generations, asked):
    worst = 0.0
    for generation, request in zip(generations, asked, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]])
        with torch.no_grad():
            logps = model(ids).logits.log_softmax(-1)[0, len(request.prompt_ids) - 1 : -1]
        expected = logps.gather(1, torch.tensor(generation.token_ids).unsqueeze(1)).squeeze(1)
        worst = max(worst, (expected - torch.tensor(generation.logprobs)).abs().max().item())
    return worst
