"""Rollout engine on vLLM in the trainer's process: token ids in and out, one seed per request, weight sync.

vLLM is imported only when an engine is created, and the global state that it changes is restored (see `vllm_import.py`).
Weights are loaded under vLLM's names (see `vllm_weights.py`). On one machine, sampled tokens do not depend on the batch;
other kernels (another GPU, another matrix shape in bfloat16) may round a near tie differently.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tersely.core.errors import ConfigError
from tersely.core.heartbeat import beat
from tersely.engines import steering
from tersely.engines.adapter import with_adapter
from tersely.engines.base import Engine, EngineSettings, Generation, GenerationRequest
from tersely.engines.model_checks import model_config
from tersely.engines.model_folder import adapter_config, base_location
from tersely.engines.models import load_frozen
from tersely.engines.sampling import fixed_and_extra, processors_for
from tersely.engines.vllm_import import in_process, require_vllm
from tersely.engines.vllm_weights import load_weights


class VLLMEngine(Engine):
    """A vLLM engine of this rank, tensor parallel size 1. Every rank must create one, at the same point.

    `model`: folder or hub id of the initial weights; `sync_weights` replaces them. `max_model_len`: tokens of prompt plus
    completion (None: the model's). `dtype` "auto": the checkpoint's on a GPU, float32 on a CPU, like the trainer.
    `gpu_memory_utilization`: fraction of the GPU memory; on a CPU the cache has VLLM_CPU_KVCACHE_SPACE GiB (default 1).
    `enable_sleep_mode` frees the GPU between rollouts (weights move to host memory); not on a CPU. `sampling`: the run's
    sampling; an adaptive temperature needs our logits processor. `steered`: the model is loaded as a Llama with biases, which
    `sync_weights` sends. Raises `ConfigError` if vLLM is not installed.
    """

    name = "vllm"

    def __init__(
        self,
        model: str,
        tokenizer: Any,
        *,
        max_model_len: int | None = None,
        max_num_seqs: int = 256,
        gpu_memory_utilization: float = 0.3,
        dtype: str = "auto",
        enable_sleep_mode: bool = False,
        seed: int = 0,
        trust_remote_code: bool = False,
        sampling: Any = None,
        steered: bool = False,
    ):
        require_vllm()
        loading = steering.vllm_options(model_config(model, trust_remote_code)) if steered else {}
        self.processors = processors_for(sampling)
        self.tokenizer, self.location = tokenizer, model
        with in_process() as platform:
            from vllm import LLM

            self.on_cpu = platform.is_cpu()
            self.sleeps = enable_sleep_mode and not self.on_cpu
            # chunked prefill may undo a seeded sample, which vLLM's CPU generators do not support
            on_cpu = {"enforce_eager": True, "enable_chunked_prefill": False}
            device: dict[str, Any] = on_cpu if self.on_cpu else {"max_num_batched_tokens": 4096}
            ranks = int(os.environ.get("WORLD_SIZE", "1"))
            self.llm = LLM(
                model=model,
                dtype="float32" if self.on_cpu and dtype == "auto" else dtype,
                seed=seed,
                max_model_len=max_model_len,
                max_num_seqs=max_num_seqs,
                gpu_memory_utilization=gpu_memory_utilization,
                enable_sleep_mode=self.sleeps,
                logprobs_mode="processed_logprobs",
                trust_remote_code=trust_remote_code,
                disable_log_stats=True,
                generation_config="vllm",
                logits_processors=self.processors or None,
                **loading,
                **device,
                **({"distributed_executor_backend": "external_launcher"} if ranks > 1 else {}),
            )
        _beat_with(self.llm.llm_engine)
        self.config = self.llm.llm_engine.model_config
        self.version: int | None = None
        self.stale_head = self.truncated_sampling = False
        self._asleep: set[str] = set()
        self.context = self.config.max_model_len

    @classmethod
    def create(cls, settings: EngineSettings) -> VLLMEngine:
        adapter = adapter_config(settings.model)
        made = cls(
            base_location(settings.model),
            settings.tokenizer,
            max_model_len=settings.max_model_len,
            max_num_seqs=settings.max_num_seqs,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            enable_sleep_mode=settings.sleep,
            seed=settings.seed,
            sampling=settings.sampling,
            steered=settings.steered or (adapter is not None and adapter.get("peft_type") == steering.PEFT_TYPE),
        )
        made.location = settings.model
        if adapter is not None:
            base = load_frozen(base_location(settings.model), "float32", "cpu")
            made.sync_weights(with_adapter(base, settings.model), 0)
        return made

    @property
    def batch(self) -> int:
        return 2048

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        temperature: Any = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> list[Generation]:
        """One generation per request, in order. `extra_args`: arguments of the engine's logits processors.

        Raises `ConfigError` if a prompt plus its cap exceeds `max_model_len`, because vLLM would truncate the completion.
        """
        from vllm import SamplingParams

        if processors_for(temperature) and not self.processors:
            raise ConfigError(
                "this engine was created for a fixed temperature; an adaptive one needs a logits processor. Pass that "
                "`sampling` to VLLMEngine"
            )
        temperature, extra_args = fixed_and_extra(temperature, extra_args)
        if not requests:
            return []
        self._check_lengths(requests)
        self._wake("weights", "kv_cache")
        self.truncated_sampling = top_p < 1.0 or top_k > 0
        sampling = [
            SamplingParams(
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                seed=request.piece_seed,
                max_tokens=request.max_new_tokens,
                # vLLM adds the stop ids of the model's generation config
                stop_token_ids=[self.tokenizer.eos_token_id, *request.stop_ids],
                logit_bias=dict.fromkeys(request.banned_ids, -100.0) or None,
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                extra_args=extra_args,
            )
            for request in requests
        ]
        prompts = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
        outputs = self.llm.generate(prompts, sampling_params=sampling, use_tqdm=False)
        if self.sleeps:
            self.llm.sleep(level=1)
            self._asleep = {"weights", "kv_cache"}
        return [
            _generation(output.outputs[0], request.stop_ids) for output, request in zip(outputs, requests, strict=True)
        ]

    def _check_lengths(self, requests: Sequence[GenerationRequest]) -> None:
        longest = max(requests, key=lambda request: len(request.prompt_ids) + request.max_new_tokens)
        needed = len(longest.prompt_ids) + longest.max_new_tokens
        if needed > self.config.max_model_len:
            raise ConfigError(
                f"a prompt of {len(longest.prompt_ids)} tokens and a completion of up to {longest.max_new_tokens} need "
                f"{needed}; the engine's context is {self.config.max_model_len} tokens. Raise vllm_max_model_length, or lower "
                "max_completion_length"
            )

    def sync_weights(self, model: Any, version: int) -> None:
        """Load the weights of the (possibly wrapped or sharded) trained model, and reset the prefix cache.

        Every rank must call this, because gathering a sharded parameter is a collective.
        """
        self._wake("weights")
        runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
        self.stale_head = not load_weights(runner, model, self.on_cpu, self.tied)
        self.llm.reset_prefix_cache()
        self.version = version

    @property
    def tied(self) -> bool:
        """True if input and output embeddings share one matrix."""
        return bool(getattr(self.config.hf_text_config, "tie_word_embeddings", False))

    def facts(self) -> dict[str, Any]:
        return {
            **super().facts(),
            "device": "cpu" if self.on_cpu else "gpu",
            "dtype": str(self.config.dtype).removeprefix("torch."),
            "version": self.version,
            "tied": self.tied,
            "stale_head": self.stale_head,
            "truncated_sampling": self.truncated_sampling,
        }

    def reading_model(self) -> Any:
        """The initial model loaded with transformers, because vLLM gives no hidden states."""
        return _in_float32(self.location)

    def close(self) -> None:
        from accelerate.utils.memory import clear_device_cache

        if self.llm is None:
            return
        self.llm.llm_engine.engine_core.shutdown()
        self.llm = self.config = None
        clear_device_cache(garbage_collection=True)

    def _wake(self, *parts: str) -> None:
        from accelerate.utils.memory import clear_device_cache

        if self._asleep.intersection(parts):
            clear_device_cache()  # memory that the update freed is still in torch's cache, and vLLM cannot use it
        for part in self._asleep.intersection(parts):
            self.llm.wake_up(tags=[part])
            self._asleep.discard(part)


def _generation(output: Any, stop_ids: Sequence[int] = ()) -> Generation:
    ended = "stop" if output.token_ids and output.token_ids[-1] in stop_ids else "eos"
    return Generation(
        tuple(output.token_ids),
        tuple(output.logprobs.logprobs),  # flat: the sampled token's log-prob per position
        "length" if output.finish_reason == "length" else ended,
    )


@lru_cache(maxsize=1)
def _in_float32(location: str) -> Any:
    return load_frozen(location, "float32", "cpu")


def _beat_with(engine: Any) -> None:
    """Report each engine step as progress of this rank."""
    step = engine.step

    def stepped(*args: Any, **kwargs: Any) -> Any:
        outputs = step(*args, **kwargs)
        beat()
        return outputs

    engine.step = stepped
