"""Rollouts from vLLM in the trainer's own process: token ids in and out, one seed a request, weights synchronised.

On GPUs the weights go in as TRL puts them in. On a CPU vLLM packs its linear layers after loading and drops the
originals, so there they are reloaded through the model runner, which unpacks and packs again. vLLM is imported only when
an engine is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from tersely.checks import SpecError
from tersely.rl.engine import Generation, GenerationRequest

CPU_DEFAULTS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "WARNING"}
"""GiB of cache, the engine in this process, and its voice; what the user has set stays."""


class VLLMEngine:
    """One vLLM engine of this rank's own, tensor parallel 1.

    `model` is a folder or hub id whose weights it starts from; `sync_weights` replaces them. `dtype` "auto" is the
    checkpoint's. Raises `SpecError` where vLLM is not installed.
    """

    reports_logprobs = True

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
    ):
        require_vllm()
        import torch

        self.tokenizer, self.on_cpu = tokenizer, not torch.cuda.is_available()
        if self.on_cpu:
            for name, value in CPU_DEFAULTS.items():
                os.environ.setdefault(name, value)
        else:
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        from vllm import LLM

        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        self.llm = LLM(
            model=model,
            dtype=dtype,
            seed=seed,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            gpu_memory_utilization=gpu_memory_utilization,
            enable_sleep_mode=enable_sleep_mode and not self.on_cpu,
            enforce_eager=self.on_cpu,
            logprobs_mode="processed_logprobs",
            trust_remote_code=trust_remote_code,
            disable_log_stats=True,
            **({"distributed_executor_backend": "external_launcher"} if ranks > 1 else {}),
        )
        self.version: int | None = None
        self.truncated_sampling = False
        self.tied = bool(getattr(self.llm.llm_engine.model_config.hf_config, "tie_word_embeddings", False))

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        temperature: float,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> list[Generation]:
        """One generation a request, in order. `extra_args` reach the engine's logits processors."""
        from vllm import SamplingParams

        if not requests:
            return []
        self.truncated_sampling = top_p < 1.0 or top_k > 0
        sampling = [
            SamplingParams(
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                seed=request.seed,
                max_tokens=request.max_new_tokens,
                logprobs=0,
                detokenize=False,
                extra_args=extra_args,
            )
            for request in requests
        ]
        prompts = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
        outputs = self.llm.generate(prompts, sampling_params=sampling, use_tqdm=False)
        return [_generation(output.outputs[0]) for output in outputs]

    def sync_weights(self, model: Any, version: int) -> None:
        """Push the weights of the (possibly wrapped or sharded) trained model; then forget cached prefixes.

        Gathering a sharded parameter is a collective, so every rank must call this.
        """
        runner = self.llm.llm_engine.model_executor.driver_worker.model_runner
        parameters = named_parameters(model)
        if self.on_cpu:
            runner.reload_weights(weights_iterator=iter(parameters))
        else:
            for name, value in parameters:
                runner.model.load_weights([(name, value)])
        self.llm.reset_prefix_cache()
        self.version = version

    def facts(self) -> dict[str, Any]:
        return {
            "engine": "vllm",
            "device": "cpu" if self.on_cpu else "cuda",
            "version": self.version,
            "tied": self.tied,
            "truncated_sampling": self.truncated_sampling,
        }

    def close(self) -> None:
        """Release the engine's memory."""
        import gc

        self.llm = None
        gc.collect()


def require_vllm() -> None:
    """A clear error where vLLM cannot be had."""
    if find_spec("vllm") is None:
        raise SpecError(
            "engine: vllm needs vLLM, which is not installed: pip install 'tersely[vllm]' on a machine with a GPU, "
            "`make engines` without one; or use engine: transformers"
        )


def named_parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """Full parameters under the names vLLM expects, gathered one at a time: TRL's own walk over DeepSpeed, FSDP and PEFT."""
    from accelerate import Accelerator
    from trl.distributed import DistributedBackend
    from trl.generation.vllm_generation import VLLMGeneration

    accelerator = Accelerator()
    walk = object.__new__(VLLMGeneration)  # only its walk is wanted, not a second engine
    walk.model, walk.accelerator, walk._dist = (
        accelerator.unwrap_model(model),
        accelerator,
        DistributedBackend(accelerator),
    )
    return walk._iter_named_params()


def _generation(output: Any) -> Generation:
    logprobs = tuple(
        next(iter(place.values())).logprob if token not in place else place[token].logprob
        for token, place in zip(output.token_ids, output.logprobs, strict=True)
    )
    return Generation(tuple(output.token_ids), logprobs, "length" if output.finish_reason == "length" else "eos")
