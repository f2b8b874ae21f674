"""What one version of vLLM makes of our arguments, as JSON. Run with that version's Python files first on the path.

The files are those of the CUDA wheel, without its compiled parts: configurations are made for the CPU platform, and only
Triton, which decides the model runner, is said to be there. Everything that is called is vLLM's own code.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

RECOMMENDED = {"top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1, "min_p": 0.1, "temperature": 0.7}
SAMPLED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)


def main() -> dict[str, Any]:
    import vllm.platforms as platforms
    from vllm.platforms.cpu import CpuPlatform

    platforms._current_platform = CpuPlatform()
    if find_spec("orjson") is None:  # newer versions answer with it; nothing here does
        sys.modules["orjson"] = mock.MagicMock()
    import vllm
    from vllm.model_executor.models import registry
    from vllm_internals import internals

    # a new process would import vLLM again to look at each class of model, which takes longer than all of this probe
    registry._run_in_subprocess = lambda look: look()
    return {
        "tree": str(Path(vllm.__file__).parents[1]),
        "arguments": arguments(),
        "command": command(),
        "sampling": sampling(),
        "runner": runner(),
        "processors": processors(Path(vllm.__file__).parent),
        "routes": routes(Path(vllm.__file__).parent / "entrypoints"),
        "transfer": transfer(),
        "internals": internals(Path(vllm.__file__).parent),
        "served": served(),
        "sleep": sleep(Path(vllm.__file__).parent),
        "steering": steering(),
    }


def engine_arguments() -> dict[str, Any]:
    """What `VLLMEngine` hands to `LLM` on a GPU."""
    from tersely.engines import vllm as vllm_engine

    given: dict[str, Any] = {}
    platform = SimpleNamespace(is_cpu=lambda: False)
    inside = mock.MagicMock(__enter__=lambda self: platform, __exit__=lambda *_: False)
    stand_in = SimpleNamespace(LLM=lambda **words: given.update(words) or mock.MagicMock())
    with (
        mock.patch.object(vllm_engine, "in_process", lambda: inside),
        mock.patch.object(vllm_engine, "require_vllm", lambda: None),
        mock.patch.dict(sys.modules, vllm=stand_in),
        mock.patch.dict(os.environ, WORLD_SIZE="2"),
    ):
        vllm_engine.VLLMEngine(model_folder(), None, max_model_len=128, enable_sleep_mode=True)
    return given


def model_folder() -> str:
    from tersely.engines.model_folder import model_location

    return model_location("testbed")


def arguments() -> list[str]:
    """Arguments of ours that this version's engine does not know."""
    from vllm.engine.arg_utils import EngineArgs

    known = {field.name for field in dataclasses.fields(EngineArgs)}
    return sorted(set(engine_arguments()) - known)


def command() -> dict[str, Any]:
    words, made = parsed()
    asked = ("generation_config", "logits_processors", "logprobs_mode", "worker_extension_cls", "middleware", "port")
    return {"words": words, **{name: getattr(made, name) for name in asked}}


def served() -> dict[str, Any]:
    """Our clients against the server's application; the weight transfer is the one that it would have on a GPU."""
    import vllm_http

    from tersely.engines.sampling import PROCESSOR

    with mock.patch.dict(os.environ, VLLM_SERVER_DEV_MODE="1", VLLM_API_KEY="a-key", TERSELY_SERVER_KEY="a-key"):
        words = parsed()[1]
        offered = {"logits_processors": [PROCESSOR], "weight_transfer_config": words.weight_transfer_config}
        return vllm_http.served(words, configuration(**offered))


def parsed() -> tuple[list[str], Any]:
    """`tersely serve`'s words for a GPU, and what vLLM's own parser makes of them."""
    import torch
    from vllm.entrypoints.openai import api_server

    from tersely.engines.sampling import PROCESSOR
    from tersely.engines.server.launch import server_command

    with (
        mock.patch.object(torch.cuda, "is_available", lambda: True),
        mock.patch.dict(os.environ, TERSELY_SERVER_KEY="a-key"),
    ):
        words = server_command(
            model_folder(),
            host="127.0.0.1",
            port=8000,
            max_model_len=128,
            gpu_memory_utilization=0.9,
            trust_remote_code=True,
            processors=[PROCESSOR],
        )
    return words[1:3], parser(api_server).parse_args(words[3:])


def parser(api_server: Any) -> Any:
    for name in ("vllm.utils.argparse_utils", "vllm.utils"):
        try:
            made = import_module(name).FlexibleArgumentParser
            break
        except (ImportError, AttributeError):
            continue
    for name in (
        "vllm.entrypoints.openai.cli_args",
        "vllm.entrypoints.launchers.cli_args",
        "vllm.entrypoints.common.cli_args",
    ):
        try:
            return import_module(name).make_arg_parser(made())
        except (ImportError, AttributeError):
            continue
    return api_server.make_arg_parser(made())


def sampling() -> dict[str, Any]:
    """The bodies of both of our HTTP engines, as sampling parameters of a server whose model recommends others."""
    from tersely.engines import openai as eval_engine
    from tersely.engines.base import GenerationRequest
    from tersely.engines.server import engine as rl_engine

    try:
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    except ImportError:
        from vllm.entrypoints.openai.protocol import CompletionRequest
    bodies: dict[str, Any] = {}
    request = GenerationRequest((1, 2), 2**62, 9, stop_ids=(7,), banned_ids=(5,))
    answer = {"choices": [{"token_ids": [4], "logprobs": {"token_logprobs": [-0.1]}, "finish_reason": "length"}]}

    made: Any = object.__new__(eval_engine.OpenAIEngine)
    made.addresses, made.model = ["a"], "m"
    made._call = lambda address, path, body: bodies.setdefault("eval", body) and answer
    made._pool = __import__("concurrent.futures").futures.ThreadPoolExecutor(1)
    made.generate([request], temperature=1.0)
    made = object.__new__(rl_engine.ServerEngine)
    made.addresses, made.models, made._name = ["a"], {"a": {"id": "m"}}, None
    made.tokenizer, made.concurrency, made.down = SimpleNamespace(eos_token_id=2), 1, {}
    made.probe_s = made.silent_s = 9.0
    made._call = lambda address, path, body, timeout_s: bodies.setdefault("rl", body) and answer
    made._able, made._busy_s, made._began, made._answered = set(), 0.0, 0.0, {}
    made.generate([request], temperature=1.0)
    found = {}
    for name, body in bodies.items():
        asked = CompletionRequest(**body)
        params = asked.to_sampling_params(9, RECOMMENDED)
        found[name] = {key: getattr(params, key) for key in SAMPLED}
        found[name] |= {"max_tokens": params.max_tokens, "stop": params.stop_token_ids, "bias": params.logit_bias}
        found[name] |= {"token_ids": asked.return_token_ids, "unknown": sorted(asked.model_extra or {})}
    return found


def configuration(**more: Any) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    given = {**engine_arguments(), "dtype": "float32", "enable_sleep_mode": False, "enforce_eager": True}
    given.pop("distributed_executor_backend")
    given.pop("disable_log_stats")
    return EngineArgs(**{**given, **more}).create_engine_config()


def steering() -> dict[str, Any]:
    """The Qwen2 model with the options of steering vectors."""
    from vllm.model_executor.model_loader import get_model_loader

    from tersely.engines.model_checks import model_config
    from tersely.engines.steering import vllm_options

    made = configuration(**vllm_options(model_config("testbed")))
    config = made.model_config.hf_config
    return {
        "architecture": made.model_config.architecture,
        "biases": [config.mlp_bias, config.attention_bias],
        "strict": get_model_loader(made.load_config).enable_weights_track,
    }


def runner() -> dict[str, Any]:
    """Model runner V2, with Triton there, without and with a logits processor; and the ends of a sequence that are kept."""
    import vllm.config.vllm as module

    from tersely.engines.sampling import PROCESSOR

    plain, adaptive = configuration(), configuration(logits_processors=[PROCESSOR])
    with mock.patch.object(module, "HAS_TRITON", True):
        v2 = [bool(made.use_v2_model_runner) for made in (plain, adaptive)]
    ends = plain.model_config.try_get_generation_config()
    defaults = plain.model_config.get_diff_sampling_param()
    return {"plain": v2[0], "adaptive": v2[1], "defaults": defaults, "generation_config_read": isinstance(ends, dict)}


def processors(package: Path) -> dict[str, Any]:
    """Our name through the loaders, and the largest difference between what they made and the temperature itself."""
    import torch
    from vllm import SamplingParams
    from vllm.v1.sample.logits_processor import BatchUpdate, build_logitsprocs, validate_logits_processors_parameters

    from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature
    from tersely.engines.sampling import PROCESSOR

    hapo = HAPOTemperature(strength=0.4)
    hapo.load_state_dict({"current": {"pivot": 0.3, "spread": 0.5, "upper": 1.2, "lower": 2.5}})
    asked = SamplingParams(extra_args=hapo.engine_arguments())
    logits = torch.randn(4, 40, generator=torch.Generator().manual_seed(0)) * torch.arange(4).unsqueeze(1)
    expected = torch.cat([hapo(logits[:3]), logits[3:]])
    import vllm.utils.torch_utils as memory

    if hasattr(memory, "PIN_MEMORY"):
        memory.PIN_MEMORY = False  # pinned memory needs a GPU
    config = SimpleNamespace(speculative_config=None, scheduler_config=SimpleNamespace(max_num_seqs=4))
    config.reasoning_config = None
    loaded = build_logitsprocs(config, torch.device("cpu"), False, False, [PROCESSOR])
    ours = [one for one in loaded.non_argmax_invariant if type(one).__module__ == "tersely.engines.vllm_logits"]
    rows = [(i, asked if i < 3 else SamplingParams(), None, []) for i in range(4)]
    ours[0].update_state(BatchUpdate(4, removed=[], added=rows, moved=[]))
    validate_logits_processors_parameters([PROCESSOR], asked)
    found: dict[str, Any] = {
        "v1": (ours[0].apply(logits.clone()) - expected).abs().max().item(),
        "v1_number": len(ours),
    }
    if (package / "v1/worker/gpu/sample/logits_processor").is_dir():
        found["v2"] = (run_v2(PROCESSOR, asked, logits) - expected).abs().max().item()
    return found


def run_v2(name: str, asked: Any, logits: Any) -> Any:
    """Requests in the slots 3, 0, 2 ask, the one in slot 1 does not."""
    import torch
    from vllm import SamplingParams
    from vllm.v1.worker.gpu.sample.logits_processor import (
        LogitsContext,
        build_custom_logits_processors,
        build_custom_logits_processors_params_validator,
    )

    build_custom_logits_processors_params_validator([name])(asked)
    states = mock.MagicMock(device=torch.device("cpu"), max_num_reqs=6, vocab_size=40)
    (made,) = build_custom_logits_processors(None, states, False, [name])
    slots = torch.tensor([3, 0, 2, 1])
    assert [made.add_request(slot, asked) for slot in (3, 0, 2)] == [True] * 3
    assert not made.add_request(1, SamplingParams())
    made.apply_staged_writes()
    fields = dict.fromkeys(field.name for field in dataclasses.fields(LogitsContext))
    fields |= {"expanded_idx_mapping": slots, "idx_mapping": slots, "idx_mapping_np": slots.numpy()}
    return made.apply(logits.clone(), LogitsContext(**fields))


def routes(folder: Path) -> list[str]:
    """METHOD /path of every router of the server, read from the decorators."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for one in getattr(node, "decorator_list", []):
                route = (
                    isinstance(one, ast.Call)
                    and isinstance(one.func, ast.Attribute)
                    and one.func.attr in ("get", "post")
                )
                if route and one.args and isinstance(one.args[0], ast.Constant):
                    found.add(f"{one.func.attr.upper()} {one.args[0].value}")
    return sorted(found)


def transfer() -> dict[str, Any]:
    """Is this transfer one that we use, and does it take what `WeightGroup` sends?"""
    from tersely.engines.server.nccl import NCCL

    usable = NCCL().usable(SimpleNamespace(type="cuda"))
    if not usable:
        return {"usable": False}
    import vllm.distributed.weight_transfer.nccl_engine as engine
    from vllm.distributed.weight_transfer import nccl_common, packed_tensor

    bodies = sent_bodies()
    engine.NCCLWeightTransferUpdateInfo(**bodies["/update_weights"]["update_info"])
    made = engine.NCCLWeightTransferInitInfo(**bodies["/init_weight_transfer_engine"]["init_info"])
    inspect.signature(nccl_common.trainer_init).bind({})
    inspect.signature(packed_tensor.packed_nccl_broadcast_producer).bind(iter([]), None, src=0, post_iter_func=None)
    return {"usable": True, "packed": made.packed}


def sent_bodies() -> dict[str, Any]:
    """What `WeightGroup` posts for one tensor, by path."""
    import torch

    from tersely.engines.server import nccl as weight_group

    bodies: dict[str, Any] = {}

    def call(address: str, path: str, body: Any = None, timeout_s: float = 0.0) -> Any:
        bodies[path] = body
        return {"world_size": 1}

    with mock.patch.object(weight_group, "address_seen_from", lambda server: "127.0.0.1"):
        group = weight_group.WeightGroup(mock.MagicMock(backend="nccl"), call, 5.0)
        group.join(["http://a:1"])
        group.begin()
        group.send([("a", torch.ones(2, 3))])
        group.end()
    return bodies


def sleep(package: Path) -> dict[str, bool]:
    """The tags that `VLLMEngine` wakes are those that the worker's memory pools have."""
    worker = (package / "v1/worker/gpu_worker.py").read_text()
    from vllm.entrypoints.llm import LLM

    inspect.signature(LLM.wake_up).bind(None, tags=["weights"])
    inspect.signature(LLM.sleep).bind(None, level=1)
    return {tag: f'tag="{tag}"' in worker for tag in ("weights", "kv_cache")}


if __name__ == "__main__":
    found = main()
    print("FOUND " + json.dumps(found, default=str))
