"""Creates the rollout engine that a recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def make_engine(run: Any, args: Any, tokenizer: Any, sampling: Any = None) -> Any:
    """None for the trained model itself; the servers of the recipe, or a vLLM engine of this rank's own, otherwise."""
    if run.engine == "transformers":
        return None
    if run.engine == "vllm_server":
        from tersely.engines.server.engine import ServerEngine

        # no progress for this long, like the deadline itself, and before it, so that the server is named
        limit = 0.9 * run.deadline_seconds
        return ServerEngine(
            run.servers,
            tokenizer,
            weights_dir=Path(run.run_dir) / "served_weights",
            start_s=min(600.0, limit),
            sync_s=min(600.0, limit),
            probe_s=min(60.0, limit / 4),
            silent_s=limit,
        )
    from tersely.engines.model_folder import model_location
    from tersely.engines.vllm import VLLMEngine

    return VLLMEngine(
        model_location(run.model_name_or_path),
        tokenizer,
        max_model_len=args.vllm_max_model_length,
        max_num_seqs=run.max_num_seqs,
        gpu_memory_utilization=args.vllm_gpu_memory_utilization,
        enable_sleep_mode=args.vllm_enable_sleep_mode,
        seed=args.seed,
        sampling=sampling,
    )
