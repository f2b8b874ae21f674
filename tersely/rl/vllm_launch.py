"""A vLLM server as a child process: started, waited for, stopped with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tersely.rl.http_json import ServerDown, wait_until_up
from tersely.rl.vllm_process import DEFAULTS, require_vllm


class VLLMServer:
    """`python -m vllm.entrypoints.openai.api_server` on this machine, up when the constructor returns.

    Its development endpoints, through which weights are exchanged, let a caller run code: it listens on 127.0.0.1 unless
    `host` says otherwise. What it prints goes to `log`. Raises `ServerDown` with the end of the log where it does not come
    up within `deadline_s`. Use it as a context manager, or `close` it.
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
        deadline_s: float = 600.0,
        options: tuple[str, ...] = (),
    ):
        require_vllm()
        import torch

        self.port, self.log = port or free_port(host), Path(log)
        self.address = f"http://{host}:{self.port}"
        on_cpu = not torch.cuda.is_available()
        values: dict[str, Any] = {
            "--model": model,
            "--host": host,
            "--port": self.port,
            "--dtype": "float32" if on_cpu and dtype == "auto" else dtype,
            "--seed": seed,
            "--max-num-seqs": max_num_seqs,
            "--logprobs-mode": "processed_logprobs",
            "--worker-extension-cls": "tersely.rl.vllm_worker.TerselyWorker",
            **({"--max-model-len": max_model_len} if max_model_len else {}),
        }
        flags = ["--disable-uvicorn-access-log", *(["--enforce-eager"] if on_cpu else [])]
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags, *options]
        command += [str(part) for pair in values.items() for part in pair]
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environment = {**DEFAULTS, **os.environ, "VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": path}
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        try:
            wait_until_up(self.address, "/health", deadline_s=deadline_s, alive=lambda: not self.ended)
        except BaseException as error:
            self.close()
            if isinstance(error, ServerDown):
                raise ServerDown(f"{error}; the end of {self.log}:\n{self.log.read_text()[-2000:]}") from error
            raise

    @property
    def ended(self) -> bool:
        """Has the server's process ended? It is not reaped here, so that its group keeps its number until `close`."""
        if self.process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def close(self, grace_s: float = 20.0) -> None:
        """End the server and its workers: asked first, killed after `grace_s`. Calling it twice does no harm."""
        if self.process.returncode is not None:
            return  # reaped: the number may be another process's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        end = time.monotonic() + grace_s
        while not self.ended and time.monotonic() < end:
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # the group: its engine process must not outlive it
        self.process.wait()

    def __enter__(self) -> VLLMServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
