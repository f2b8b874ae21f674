"""Rollouts from vLLM servers: token ids and one seed a sample over HTTP, weights through a folder all of them can read.

Every synchronisation gives the weights a name, which the server keeps; each answer is taken only where the server still
has that name afterwards, so that one which was restarted, or given weights by another run, is noticed at once. Requests
are pulled by whichever server is free; one that stops answering leaves its share to the others until the next
synchronisation, and the run ends when none is left.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tersely.checks import SpecError
from tersely.rl.engine import Generation, GenerationRequest, fixed_and_extra
from tersely.rl.engine_gap import StaleEngineError
from tersely.rl.http_json import ServerDown, ServerRefused, call, wait_until_up


class ServerEngine:
    """Generates on the servers at `addresses` (a list, or one text with commas).

    `weights_dir` must be one that the servers see under the same path. `concurrency` requests are under way at once on
    each server. Deadlines, seconds: `start_s` for a server to come up, `answer_s` for one completion, `sync_s` for one
    server to load the weights. Raises `ServerDown` where no server is left, `StaleEngineError` for an answer from other
    weights, `SpecError` for what a server refuses.
    """

    reports_logprobs = True

    def __init__(
        self,
        addresses: str | Sequence[str],
        tokenizer: Any,
        *,
        weights_dir: Path | str,
        concurrency: int = 128,
        start_s: float = 600.0,
        answer_s: float = 1800.0,
        sync_s: float = 600.0,
    ):
        given = addresses.split(",") if isinstance(addresses, str) else addresses
        self.addresses = [one.strip().rstrip("/").removesuffix("/v1") for one in given if one.strip()]
        if not self.addresses:
            raise SpecError("no server address was given; it looks like http://host:8000")
        self.tokenizer, self.weights_dir, self.concurrency = tokenizer, Path(weights_dir), concurrency
        self.answer_s, self.sync_s = answer_s, sync_s
        self.version: int | None = None
        self.stale_head = self.truncated_sampling = False
        self.down: dict[str, str] = {}
        self._run, self._name = secrets.token_hex(4), None
        self._key = os.environ.get("OPENAI_API_KEY")
        for address in self.addresses:
            wait_until_up(address, "/health", deadline_s=start_s)
        self.models = {address: self._call(address, "/v1/models")["data"][0] for address in self.addresses}

    # ---- generation ----

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        temperature: Any = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> list[Generation]:
        """One generation a request, in order, whichever server it came from."""
        temperature, extra_args = fixed_and_extra(temperature, extra_args)
        self.truncated_sampling = top_p < 1.0 or top_k > 0
        common = {
            "temperature": temperature,
            "top_p": top_p,
            "logprobs": 0,
            "return_token_ids": True,
            "skip_special_tokens": False,
            "stop_token_ids": [self.tokenizer.eos_token_id],
            **({"top_k": top_k} if top_k > 0 else {}),
            **({"vllm_xargs": extra_args} if extra_args else {}),
        }
        round_ = _Round(requests)
        while round_.waiting:
            servers = [address for address in self.addresses if address not in self.down]
            if not servers:
                reasons = "; ".join(self.down.values())
                raise ServerDown(f"no server is left, {len(round_.waiting)} completions are still to come: {reasons}")
            threads = min(self.concurrency, -(-len(round_.waiting) // len(servers)))
            with ThreadPoolExecutor(threads * len(servers)) as pool:
                for address in servers * threads:
                    pool.submit(round_.serve, lambda row, at=address: self._one(at, row, common), address, self.down)
            if round_.fatal is not None:
                raise round_.fatal
        return round_.answers  # type: ignore[return-value]

    def _one(self, address: str, request: GenerationRequest, common: dict[str, Any]) -> Generation:
        body = {
            **common,
            "model": self.models[address]["id"],
            "prompt": list(request.prompt_ids),
            "max_tokens": request.max_new_tokens,
            "seed": request.seed,
        }
        choice = self._call(address, "/v1/completions", body, self.answer_s)["choices"][0]
        ids, logprobs = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
        if ids is None or logprobs is None or len(ids) != len(logprobs):
            raise ServerRefused(
                f"{address} gives no token ids with log-probs; training needs a vLLM server, 0.22 to 0.31"
            )
        self._check_name(address)
        return Generation(tuple(ids), tuple(logprobs), "length" if choice["finish_reason"] == "length" else "eos")

    def _check_name(self, address: str) -> None:
        """The answer is taken only if the server's weights still have the name that we gave them."""
        if self._name is None:
            return
        found = self._call(address, "/weight_info")["weight_version"]
        if found != self._name:
            raise StaleEngineError(
                f"the server at {address} answered from the weights {found!r}, and the trainer is at {self._name!r}: it was "
                "restarted, or another run gives it weights; give each run servers of its own and resume"
            )

    # ---- weights ----

    def sync_weights(self, model: Any, version: int) -> None:
        """Write the weights once, have every server load them; every rank must call this, the first one does the work.

        Servers that were down are asked again. Raises `ServerDown` on every rank where none took the weights.
        """
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        from tersely.rl.vllm_weights import named_parameters

        first = PartialState().is_main_process
        tensors = {}
        for name, value in named_parameters(model):
            if first:
                tensors[name] = value.detach().cpu().contiguous().clone()
        tied = bool(getattr(getattr(model, "module", model).config, "tie_word_embeddings", False))
        outcome: list[Any] = [self._publish(tensors, version, tied) if first else None]
        broadcast_object_list(outcome)
        self._name, self.stale_head, self.down = outcome[0]
        for address, reason in self.down.items():
            warnings.warn(f"going on without the server at {address}: {reason}")
        if len(self.down) == len(self.addresses):
            raise ServerDown(f"no server took the weights of step {version}: {'; '.join(self.down.values())}")
        self.version = version

    def _publish(self, tensors: dict[str, Any], version: int, tied: bool) -> tuple[str, bool, dict[str, str]]:
        """(name of the weights, whether a tied head may be stale, servers that did not take them and why)."""
        from safetensors.torch import save_file

        name = f"{self._run}-{version}"
        folder = (self.weights_dir / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with ThreadPoolExecutor(len(self.addresses)) as pool:
            results = pool.map(lambda address: self._load(address, folder, name, tied), self.addresses)
            outcomes = dict(zip(self.addresses, results, strict=True))
        shutil.rmtree(folder, ignore_errors=True)
        down = {address: result for address, result in outcomes.items() if isinstance(result, str)}
        return name, any(result is True for result in outcomes.values()), down

    def _load(self, address: str, folder: Path, name: str, tied: bool) -> bool | str:
        """Have one server load `folder`. True where its tied head may be stale, a text where it failed."""
        try:
            self._call(address, "/update_weight_version", {"new_version": f"loading {name}"})
            body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
            self._call(address, "/collective_rpc", body, self.sync_s)
            stale = tied and not self._repack(address)
            if not self._call(address, "/reset_prefix_cache", {})["success"]:
                return f"{address} could not drop its cached prefixes: requests of somebody else are under way"
            self._call(address, "/update_weight_version", {"new_version": name})
            return stale
        except ServerRefused as error:
            return f"{error} (weights are exchanged through vLLM's development endpoints: VLLM_SERVER_DEV_MODE=1)"
        except (ServerDown, KeyError, TypeError) as error:
            return f"{address}: {error}"

    def _repack(self, address: str) -> bool:
        """False where the server was started without our worker extension, or its model has no head of its own."""
        try:
            answer = self._call(address, "/collective_rpc", {"method": "repack_tied_head"}, self.sync_s)
        except (ServerDown, ServerRefused):
            return False
        return all(result["packed"] for result in answer["results"])

    def facts(self) -> dict[str, Any]:
        return {
            "engine": "vllm server",
            "servers": self.addresses,
            "down": dict(self.down),
            "version": self.version,
            "stale_head": self.stale_head,
            "truncated_sampling": self.truncated_sampling,
        }

    def close(self) -> None:
        """The servers are their owner's; only the folder of weights is ours."""
        for folder in self.weights_dir.glob(f"{self._run}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _call(self, address: str, path: str, body: Any = None, timeout_s: float = 60.0) -> Any:
        return call(address, path, body, timeout_s=timeout_s, key=self._key)


class _Round:
    """The requests of one `generate` and what has become of them; threads of all servers pull from it."""

    def __init__(self, requests: Sequence[GenerationRequest]):
        self.requests = requests
        self.waiting = deque(range(len(requests)))
        self.answers: list[Generation | None] = [None] * len(requests)
        self.fatal: BaseException | None = None
        self._lock = threading.Lock()

    def serve(self, one: Any, address: str, down: dict[str, str]) -> None:
        """Answer waiting requests with `one` until none is left, its server is down, or another thread met an error."""
        while True:
            with self._lock:
                if not self.waiting or address in down or self.fatal is not None:
                    return
                row = self.waiting.popleft()
            try:
                self.answers[row] = one(self.requests[row])
            except ServerDown as error:
                with self._lock:
                    self.waiting.appendleft(row)
                    down.setdefault(address, str(error))
                return
            except BaseException as error:
                with self._lock:
                    self.fatal = self.fatal or error
                return
