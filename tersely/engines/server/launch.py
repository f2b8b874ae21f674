"""Starts vLLM's API server for rollouts: its command, its environment, and the child process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tersely.engines.sampling import processors_for
from tersely.engines.server.auth import VARIABLE
from tersely.engines.server.process import ServerProcess
from tersely.engines.vllm_import import DEFAULTS, require_vllm


class VLLMServer(ServerProcess):
    """A running `python -m vllm.entrypoints.openai.api_server` on this machine; healthy when the constructor returns.

    Its development endpoints, which weight sync uses, let a client run code, so it listens on 127.0.0.1 unless `host` is
    set. `sampling`: the run's sampling, if adaptive. Its output goes to `log`. Raises `ServerDown` with the end of the log if
    it does not come up within `deadline_s`. Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        model: str,
        log: Path | str,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        max_model_len: int | None = None,
        max_num_seqs: int = 256,
        dtype: str = "auto",
        seed: int = 0,
        sampling: Any = None,
        deadline_s: float = 600.0,
        options: tuple[str, ...] = (),
    ):
        require_vllm()
        self.port = port or free_port(host)
        command = server_command(
            model,
            host=host,
            port=self.port,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            dtype=dtype,
            seed=seed,
            processors=processors_for(sampling),
            options=options,
        )
        super().__init__(command, f"http://{host}:{self.port}", log, server_environment())
        self.wait_until_up(deadline_s)

    def __enter__(self) -> VLLMServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def server_command(
    model: str,
    *,
    host: str,
    port: int,
    max_model_len: int | None = None,
    max_num_seqs: int = 256,
    dtype: str = "auto",
    seed: int = 0,
    gpu_memory_utilization: float | None = None,
    trust_remote_code: bool = False,
    processors: Sequence[str] = (),
    options: tuple[str, ...] = (),
) -> list[str]:
    """Command that starts a rollout server. The key is in its environment.

    `processors` are the logits processors of the sampling (`engines.sampling.processors_for`).
    """
    import torch

    on_cpu = not torch.cuda.is_available()
    values: dict[str, Any] = {
        "--model": model,
        "--host": host,
        "--port": port,
        "--dtype": "float32" if on_cpu and dtype == "auto" else dtype,
        "--seed": seed,
        "--max-num-seqs": max_num_seqs,
        "--logprobs-mode": "processed_logprobs",
        "--generation-config": "vllm",  # not the model's: each request sets its sampling
        "--worker-extension-cls": "tersely.engines.server.worker.TerselyWorker",
        **({"--max-model-len": max_model_len} if max_model_len else {}),
        **({"--gpu-memory-utilization": gpu_memory_utilization} if gpu_memory_utilization and not on_cpu else {}),
        **({} if on_cpu else {"--weight-transfer-config": json.dumps({"backend": "nccl"})}),
        **({"--middleware": "tersely.engines.server.auth.KeyOnEveryPath"} if os.environ.get(VARIABLE) else {}),
    }
    # chunked prefill may undo a seeded sample, which vLLM's CPU generators do not support
    quiet = ["--disable-uvicorn-access-log", "--no-use-tqdm-on-load"]
    flags = [*quiet, *(["--enforce-eager", "--no-enable-chunked-prefill"] if on_cpu else [])]
    flags += ["--trust-remote-code"] if trust_remote_code else []
    flags += ["--logits-processors", *processors] if processors else []
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags, *options]
    return command + [str(part) for pair in values.items() for part in pair]


def server_environment() -> dict[str, str]:
    """This process's environment plus the variables that a server needs."""
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    key = os.environ.get(VARIABLE)
    return {
        **DEFAULTS,
        **os.environ,
        "VLLM_SERVER_DEV_MODE": "1",
        "PYTHONPATH": path,
        **({"VLLM_API_KEY": key} if key else {}),
    }


def free_port(host: str = "127.0.0.1") -> int:
    """A free port below the ephemeral range."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
