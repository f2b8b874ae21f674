"""Our HTTP clients against the server application of one version of vLLM. Part of vllm_probe.py.

The application is vLLM's own, with its routers, request bodies and our middleware, on a real port; only the engine that it
hands requests to is a stand-in, which keeps what it was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

KEY = "a-key"
TOKENS, LOGPROB = (4, 2), -0.25


def engine(config: Any) -> tuple[Any, list[tuple[str, Any]]]:
    """(the stand-in, what it was asked for in order)."""
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.sampling_params import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

    asked: list[tuple[str, Any]] = []
    version = ["the first"]
    logprob = import_module("vllm.logprobs").Logprob

    async def generate(prompt: Any, params: SamplingParams, request_id: str, *_: Any, **__: Any) -> Any:
        asked.append(("generate", params))
        logprobs = [{token: logprob(logprob=LOGPROB, rank=1, decoded_token=None)} for token in TOKENS]
        done = CompletionOutput(0, "", TOKENS, LOGPROB * len(TOKENS), logprobs, finish_reason="stop")
        yield RequestOutput(request_id, None, [1, 2], None, [done], True, num_cached_tokens=0)

    def method(name: str, answer: Any = None) -> Any:
        async def called(*given: Any, **named: Any) -> Any:
            asked.append((name, given or named))
            return answer() if callable(answer) else answer

        return called

    def named(new: str) -> None:
        version[0] = new

    made = mock.MagicMock(spec=AsyncLLM)  # an endpoint that calls what the engine does not have fails
    made.vllm_config, made.model_config, made.errored, made.is_running = config, config.model_config, False, True
    with contextlib.suppress(ImportError, AttributeError):
        made.renderer = import_module("vllm.renderers").renderer_from_config(config)
    for name in ("input_processor", "io_processor"):
        setattr(made, name, mock.MagicMock(renderer=getattr(made, "renderer", None)))
    made.generate = generate
    made.collective_rpc = method("collective_rpc", [{"packed": True}])
    made.reset_prefix_cache = method("reset_prefix_cache", True)
    for name in ("init_weight_transfer_engine", "start_weight_update", "update_weights", "finish_weight_update"):
        if hasattr(AsyncLLM, name):
            setattr(made, name, method(name))
    if hasattr(AsyncLLM, "get_weight_version"):
        made.get_weight_version = method("get_weight_version", lambda: version[0])

        async def update_weight_version(new: str) -> None:
            named(new)

        made.update_weight_version = update_weight_version
    return made, asked


@contextlib.contextmanager
def running(arguments: Any, stand_in: Any) -> Iterator[str]:
    """The address of the application, as long as the block runs."""
    import uvicorn
    from vllm.entrypoints.openai import api_server

    from tersely.engines.server.launch import free_port

    app = api_server.build_app(arguments, ("generate",))
    asyncio.run(api_server.init_app_state(stand_in, app.state, arguments, ("generate",)))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the application did not start")
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def served(arguments: Any, config: Any) -> dict[str, Any]:
    """What our clients get from the application, and what reaches its engine: {client: facts or the error}."""
    import urllib.error
    import urllib.request

    from vllm.v1.metrics.loggers import PrometheusStatLogger

    PrometheusStatLogger(config)  # as the real engine does: its counters are at /metrics
    stand_in, asked = engine(config)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, running(arguments, stand_in) as address:
        for path in ("/health", "/weight_info", "/v1/models"):
            try:
                with urllib.request.urlopen(address + path, timeout=20) as answer:
                    found[f"no key {path}"] = answer.status
            except urllib.error.HTTPError as error:
                found[f"no key {path}"] = error.code
        for name, work in (("rl", rl), ("folder", through_folder), ("group", through_group), ("eval", evaluated)):
            asked.clear()
            try:
                found[name] = work(address, Path(folder), asked)
            except Exception as error:  # each client has a finding of its own
                found[name] = {"error": f"{type(error).__name__}: {error}"}
    return found


def rl_engine(address: str, folder: Path) -> Any:
    from tersely.engines.server.engine import ServerEngine

    return ServerEngine(address, SimpleNamespace(eos_token_id=2), weights_dir=folder, start_s=20.0, silent_s=60.0)


def requests() -> list[Any]:
    from tersely.engines.base import GenerationRequest

    return [GenerationRequest((1, 2), 2**62, 9, stop_ids=(7,), banned_ids=(5,))]


def rl(address: str, folder: Path, asked: list[tuple[str, Any]]) -> dict[str, Any]:
    """A completion with log-probs, with the adaptive temperature, from a server that has our processor."""
    from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature
    from tersely.engines.vllm_logits import KEY as ARGUMENT

    made = rl_engine(address, folder)
    hapo = HAPOTemperature(strength=0.4)
    hapo.load_state_dict({"current": {"pivot": 0.3, "spread": 0.5, "upper": 1.2, "lower": 2.5}})
    (drawn,) = made.generate(requests(), temperature=hapo)
    (params,) = [value for name, value in asked if name == "generate"]
    return {
        "tokens": drawn.token_ids,
        "logprobs": drawn.logprobs,
        "finish": drawn.finish,
        "seed": params.seed,
        "asked": (params.extra_args or {}).get(ARGUMENT) == hapo.engine_arguments()[ARGUMENT],
        "context": made.models[address]["max_model_len"],
        "counted": made._tokens(address),
    }


def evaluated(address: str, folder: Path, asked: list[tuple[str, Any]]) -> dict[str, Any]:
    from tersely.engines.openai import OpenAIEngine

    with mock.patch.dict(os.environ, OPENAI_API_KEY=KEY):
        made = OpenAIEngine(address, SimpleNamespace(eos_token_id=2), attempts=1, timeout_s=20.0)
        (drawn,) = made.generate(requests(), temperature=1.0)
    made.close()
    return {"tokens": drawn.token_ids, "finish": drawn.finish, "context": made.context}


def through_folder(address: str, folder: Path, asked: list[tuple[str, Any]]) -> dict[str, Any]:
    """A synchronisation of a tied model through files: what the engine's workers were called for."""
    import torch

    weights = rl_engine(address, folder).weights
    sent = weights._send([("a", torch.ones(2, 3))], "second", True, torch.device("cpu"))
    calls = [value for name, value in asked if name == "collective_rpc"]
    return {
        "down": list(sent.down.values()),
        "ways": list(sent.ways.values()),
        "stale_head": sent.stale_head,
        "offer": vars(weights._offers[address]),
        "methods": [call["method"] for call in calls],
        "keywords": sorted(calls[0]["kwargs"]) if calls else [],
        "reset": sum(name == "reset_prefix_cache" for name, _ in asked),
        "name": weights._call(address, "/weight_info")["weight_version"] if calls else None,
    }


def through_group(address: str, folder: Path, asked: list[tuple[str, Any]]) -> list[str]:
    """A synchronisation over NCCL with a transport that sends nothing: the calls that reach the engine."""
    import torch

    from tersely.engines.server.nccl import WeightGroup

    transport = mock.MagicMock(backend="nccl")
    group = WeightGroup(transport, rl_engine(address, folder)._call, 20.0)
    group.join([address])
    group.begin()
    group.send([("a", torch.ones(2, 3))])
    group.end()
    assert transport.open.call_args.args[2] == 2, "one trainer and one worker"
    return [name for name, _ in asked]
