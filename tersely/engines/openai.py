"""Rollout engine for an OpenAI-compatible server: sends token ids to `/v1/completions`, one seed per sample.

The address can be a comma-separated list of servers, which get requests in turn. A request without an answer, or with
status 408, 429 or 5xx, is retried with increasing pauses; any other 4xx status is an error with the server's message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tersely.core.errors import ConfigError
from tersely.core.http import ServerDown, call
from tersely.engines.base import Engine, EngineSettings, Generation, GenerationRequest
from tersely.engines.sampling import NEUTRAL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OpenAIEngine(Engine):
    """Generates over HTTP, with `concurrency` requests in flight per server."""

    name = "server"

    def __init__(
        self,
        address: str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        model: str | None = None,
        concurrency: int = 64,
        timeout_s: float = 3600.0,
        attempts: int = 5,
        first_pause_s: float = 1.0,
    ):
        self.addresses = [one.strip().rstrip("/").removesuffix("/v1") for one in address.split(",") if one.strip()]
        self.tokenizer, self.timeout_s = tokenizer, timeout_s
        self.attempts, self.first_pause_s = attempts, first_pause_s
        self._pool = ThreadPoolExecutor(concurrency * len(self.addresses), thread_name_prefix="server")
        listed = self._call(self.addresses[0], "/v1/models", None)["data"][0]
        self.model = model or listed["id"]
        self.context = listed.get("max_model_len")

    @classmethod
    def create(cls, settings: EngineSettings) -> OpenAIEngine:
        return cls(",".join(settings.servers), settings.tokenizer)

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        temperature: Any = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> list[Generation]:
        """One generation per request, in order. Raises `ConfigError` if a server rejects a request or does not answer."""
        if callable(temperature):
            raise ConfigError("a server samples at a fixed temperature; this sampling needs the transformers engine")
        common = {**NEUTRAL, "model": self.model, "temperature": temperature, "top_p": top_p, "return_token_ids": True}
        if top_k > 0:
            common["top_k"] = top_k
        if extra_args:
            common["vllm_xargs"] = extra_args
        waiting = [
            self._pool.submit(self._one, self.addresses[index % len(self.addresses)], request, common)
            for index, request in enumerate(requests)
        ]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            for future in waiting:
                future.cancel()
            raise

    def _one(self, address: str, request: GenerationRequest, common: dict[str, Any]) -> Generation:
        body = {
            **common,
            "prompt": list(request.prompt_ids),
            "max_tokens": request.max_new_tokens,
            "seed": request.seed,
            "skip_special_tokens": False,
        }
        if request.stop_ids:
            body["stop_token_ids"] = list(request.stop_ids)
        if request.banned_ids:
            body["logit_bias"] = {str(token): -100 for token in request.banned_ids}
        answer = self._call(address, "/v1/completions", body)
        choice = answer["choices"][0]
        ids = choice.get("token_ids")
        if ids is None and request.stop_ids:
            raise ConfigError(
                f"{address} returns no token ids, which this strategy needs. Serve the model with vLLM, or use --engine "
                "transformers or vllm"
            )
        if ids is None:
            ids = self._ids_of(choice["text"], int(answer["usage"]["completion_tokens"]), choice["finish_reason"])
        ended = "stop" if ids and ids[-1] in request.stop_ids else "eos"
        return Generation(tuple(ids), None, "length" if choice["finish_reason"] == "length" else ended)

    def _ids_of(self, text: str, count: int, finish: str) -> list[int]:
        """Token ids for a server that returns only text. Their number must equal the server's count: we measure lengths."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        if finish != "length" and (not ids or ids[-1] != self.tokenizer.eos_token_id):
            ids.append(self.tokenizer.eos_token_id)
        if abs(len(ids) - count) > max(2, count // 100):
            raise ConfigError(
                f"the server counts {count} tokens, the tokenizer here {len(ids)}. Set the served model's tokenizer "
                "with --tokenizer"
            )
        return ids[:count] + [self.tokenizer.eos_token_id] * (count - len(ids))

    def _call(self, address: str, path: str, body: dict[str, Any] | None) -> Any:
        """Send a request with the environment's key; retries with increasing pauses if the server is busy or down."""
        key = os.environ.get("OPENAI_API_KEY")
        for attempt in range(self.attempts):
            try:
                return call(address, path, body, timeout_s=self.timeout_s, key=key)
            except ServerDown as error:
                reason = error
            if attempt + 1 < self.attempts:
                time.sleep(self.first_pause_s * 2**attempt)
        raise ConfigError(
            f"{reason}; no answer after {self.attempts} attempts. Check that the server is up"
        ) from reason

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "addresses": self.addresses, "model": self.model}

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
