"""Rollout engine on vLLM servers: token ids and one seed per sample over HTTP, weights over NCCL or through a folder.

Each synchronisation sets a name for the weights on the server. An answer is accepted only if the server still has that
name afterwards: this detects a server that was restarted, or that got weights from another run. Each request goes to the
least loaded server. Requests of a server that stops answering go to the others until the next synchronisation; the run
ends when no server is left.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.http import ServerDown, ServerRefused, call, read, wait_until_up
from tersely.core.logging import get_logger
from tersely.engines.base import Engine, EngineSettings, Generation, GenerationRequest, StaleEngineError
from tersely.engines.sampling import NEUTRAL, fixed_and_extra, processors_for
from tersely.engines.server.auth import VARIABLE
from tersely.engines.server.scheduler import Stream
from tersely.engines.server.weight_sync import ServedWeights

logger = get_logger(__name__)

COUNTERS = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
"""Names of token counters in a server's /metrics."""


class ServerEngine(Engine):
    """Generates on the servers at `addresses` (a list, or a comma-separated string).

    `weights_dir`: a folder of this run that servers without NCCL see under the same path. `concurrency`: requests in flight
    per server. Deadlines in seconds: `start_s` for a server to come up, `sync_s` to load weights, `probe_s` to answer a health
    probe, `silent_s` to generate a token or an answer. The servers' key is TERSELY_SERVER_KEY of the environment. Raises
    `ServerDown` if no server is left, `StaleEngineError` for an answer from other weights, `ConfigError` for a rejected
    request.
    """

    name = "vllm_server"

    def __init__(
        self,
        addresses: str | Sequence[str],
        tokenizer: Any,
        *,
        weights_dir: Path | str,
        concurrency: int = 128,
        start_s: float = 600.0,
        silent_s: float = 1800.0,
        sync_s: float = 600.0,
        probe_s: float = 60.0,
    ):
        given = addresses.split(",") if isinstance(addresses, str) else addresses
        self.addresses = [one.strip().rstrip("/").removesuffix("/v1") for one in given if one.strip()]
        if not self.addresses:
            raise ConfigError("servers: got none; expected addresses such as http://host:8000")
        self.tokenizer, self.concurrency, self.start_s = tokenizer, concurrency, start_s
        self.silent_s, self.probe_s = silent_s, probe_s
        self.weights = ServedWeights(self.addresses, self._call, Path(weights_dir), sync_s)
        self._busy_s, self._began, self._ended = 0.0, math.inf, 0.0
        self._answered: dict[str, int] = {}
        self.version: int | None = None
        self.stale_head = self.truncated_sampling = False
        self.down: dict[str, str] = {}
        self._able: set[str] = set()
        self._name: str | None = None
        self._ways: dict[str, str] = {}
        self._key = os.environ.get(VARIABLE) or None
        for address in self.addresses:
            wait_until_up(address, "/health", deadline_s=start_s)
        self.models = {address: self._call(address, "/v1/models")["data"][0] for address in self.addresses}

    @classmethod
    def create(cls, settings: EngineSettings) -> ServerEngine:
        # shorter than the deadline, so that the message names the server
        limit = 0.9 * settings.deadline_s
        return cls(
            settings.servers,
            settings.tokenizer,
            weights_dir=settings.run_dir / "served_weights",
            start_s=min(600.0, limit),
            sync_s=min(600.0, limit),
            probe_s=min(60.0, limit / 4),
            silent_s=limit,
        )

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
        """One generation per request, in order, from any server."""
        answers: dict[Any, Generation] = {}
        with self._stream(temperature=temperature, top_p=top_p, top_k=top_k, extra_args=extra_args) as stream:
            for row, request in enumerate(requests):
                stream.add(row, request)
            while len(answers) < len(requests):
                answers.update(stream.ready())
        self._count(stream)
        return [answers[row] for row in range(len(requests))]

    def _count(self, stream: Stream) -> None:
        """Add a stream's statistics to `metrics`."""
        self._busy_s += stream.busy_s
        self._began, self._ended = min(self._began, stream.began), stream.ended
        for address, server in stream.servers.items():
            self._answered[address] = self._answered.get(address, 0) + server.answered

    def metrics(self) -> dict[str, float]:
        """Metrics since the last call. `time/engine_idle`: seconds between first request and last answer without a request
        for a server, mean over the servers; `engine/idle_share`: the same as a share; `engine/smallest_share`: share of the
        answers from the server with the fewest.
        """
        busy, whole, answered = self._busy_s, self._ended - self._began, self._answered
        self._busy_s, self._began, self._ended, self._answered = 0.0, math.inf, 0.0, {}
        if whole <= 0:
            return {}
        idle, total = max(0.0, whole - busy), max(1, sum(answered.values()))
        shares = {"engine/idle_share": idle / whole, "engine/smallest_share": min(answered.values()) / total}
        return {"time/engine_idle": idle, **shares}

    def _stream(
        self,
        *,
        temperature: Any = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> Stream:
        """A stream that takes requests one by one and yields answers when ready."""
        self._require(processors_for(temperature))
        temperature, extra_args = fixed_and_extra(temperature, extra_args)
        self.truncated_sampling = top_p < 1.0 or top_k > 0
        common = {
            **NEUTRAL,
            "temperature": temperature,
            "top_p": top_p,
            "logprobs": 0,
            "return_token_ids": True,
            "skip_special_tokens": False,
            "stop_token_ids": [self.tokenizer.eos_token_id],
            **({"top_k": top_k} if top_k > 0 else {}),
            **({"vllm_xargs": extra_args} if extra_args else {}),
        }
        return Stream(
            self.addresses,
            lambda address, request: self._one(address, request, common),
            concurrency=self.concurrency,
            down=self.down,
            healthy=self._silent,
            tokens=self._tokens,
            probe_s=min(20.0, self.probe_s),
            silent_s=self.silent_s,
        )

    def _require(self, processors: list[str]) -> None:
        """Check that the servers have the logits processor; without it they would sample at the base temperature."""
        for address in [at for at in self.addresses if processors and at not in self.down and at not in self._able]:
            try:
                config = self._call(address, "/server_info?config_format=json", None, self.start_s)["vllm_config"]
                loaded = config["model_config"]["logits_processors"] or []
            except ServerDown:
                continue  # the stream detects it
            except (ServerRefused, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{address} does not report its logits processors ({error}). Start it with `tersely serve`"
                ) from error
            if missing := [name for name in processors if name not in loaded]:
                raise ConfigError(
                    f"the server at {address} was started without --logits-processors {missing[0]}, which this sampling "
                    "needs. Start it with `tersely serve` and this recipe"
                )
            self._able.add(address)

    def _silent(self, address: str) -> str | None:
        """Reason to give up a server with requests in flight; None if it answers a probe."""
        try:
            self._call(address, "/health", timeout_s=self.probe_s)
        except (ServerDown, ServerRefused) as error:
            return f"{error} (its process may be stopped or its machine unreachable)"
        return None

    def _tokens(self, address: str) -> float | None:
        """Tokens that the server has processed for all clients since its start; None if it does not count."""
        try:
            text = read(address, "/metrics", timeout_s=self.probe_s, key=self._key).decode("utf-8", "replace")
            counts = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(COUNTERS)]
        except (ServerDown, ServerRefused, ValueError, IndexError):
            return None
        return sum(counts) if counts else None

    def _one(self, address: str, request: GenerationRequest, common: dict[str, Any]) -> Generation:
        body = {
            **common,
            "model": self.models[address]["id"],
            "prompt": list(request.prompt_ids),
            "max_tokens": request.max_new_tokens,
            "seed": request.piece_seed,
            "stop_token_ids": [*common["stop_token_ids"], *request.stop_ids],
            **({"logit_bias": {str(token): -100 for token in request.banned_ids}} if request.banned_ids else {}),
        }
        choice = self._call(address, "/v1/completions", body, timeout_s=None)["choices"][0]
        ids, logprobs = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
        if ids is None or logprobs is None or len(ids) != len(logprobs):
            raise ServerRefused(
                f"{address} returns no token ids with log-probs; training needs a vLLM server, 0.27 to 0.31"
            )
        self._check_name(address)
        ended = "stop" if ids and ids[-1] in request.stop_ids else "eos"
        return Generation(tuple(ids), tuple(logprobs), "length" if choice["finish_reason"] == "length" else ended)

    def _check_name(self, address: str) -> None:
        """Accept an answer only if the server's weights still have the name of the last synchronisation."""
        if self._name is None:
            return
        found = self._call(address, "/weight_info")["weight_version"]
        if found != self._name:
            raise StaleEngineError(
                f"the server at {address} answered from the weights {found!r}; expected the trainer's {self._name!r}. It was "
                "restarted, or another run sends it weights. Use separate servers for each run, then resume"
            )

    # ---- weights ----

    def sync_weights(self, model: Any, version: int) -> None:
        """Send the weights of `model` to every server; every rank must call this, rank 0 does the work.

        Retries servers that were down. Raises `ServerDown` on every rank if no server took the weights.
        """
        from accelerate import PartialState

        published = self.weights.publish(model, version)
        self._name, self.stale_head, self.down = published.name, published.stale_head, published.down
        if published.ways != self._ways:
            self._ways = published.ways
            ways = ", ".join(f"{address} ({way})" for address, way in self._ways.items())
            if PartialState().is_main_process:
                logger.info(f"weights are sent to {ways}")
        for address, reason in self.down.items():
            warnings.warn(f"continuing without the server at {address}: {reason}")
        if len(self.down) == len(self.addresses):
            raise ServerDown(f"no server took the weights of step {version}: {'; '.join(self.down.values())}")
        self.version = version

    def facts(self) -> dict[str, Any]:
        return {
            **super().facts(),
            "servers": self.addresses,
            "down": dict(self.down),
            "version": self.version,
            "weights": dict(self._ways),
            "stale_head": self.stale_head,
            "truncated_sampling": self.truncated_sampling,
        }

    def close(self) -> None:
        """Delete the folder of weights. The servers keep running; the process that started them ends them."""
        self.weights.close()

    def _call(self, address: str, path: str, body: Any = None, timeout_s: float | None = 60.0) -> Any:
        """Call a server with the servers' key."""
        return call(address, path, body, timeout_s=timeout_s, key=self._key)
