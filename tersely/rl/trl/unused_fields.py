"""Fields of GRPOConfig that have no effect here, so setting one is an error.

Our slots replace them. TRL's own losses (`loss_type: luspo`, `vespo`) still use those in `OF_TRLS_LOSSES`.
"""

from __future__ import annotations

from tersely.core.errors import ConfigError

OF_TRLS_LOSSES = {
    **dict.fromkeys(
        ("entropy_coef", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta")
        + ("entropy_target", "use_adaptive_entropy"),
        "controllers [{name: entropy_target}]",
    ),
    "off_policy_mask_threshold": "loss {name: sampler_correction, mode: sequence_mask}",
    **dict.fromkeys(("vespo_k_pos", "vespo_k_neg", "vespo_lambda_pos", "vespo_lambda_neg"), "loss_type: vespo"),
}
"""Field -> replacement, unless the loss is TRL's."""

NEVER_READ = {
    "sapo_temperature_pos": "loss {name: sapo, tau_pos}",
    "sapo_temperature_neg": "loss {name: sapo, tau_neg}",
    "vllm_importance_sampling_correction": "loss {name: sampler_correction}",
    "vllm_importance_sampling_mode": "loss {name: sampler_correction, mode}",
    "vllm_importance_sampling_cap": "loss {name: sampler_correction, cap}",
    "vllm_importance_sampling_clip_max": "loss {name: sampler_correction, cap}",
    "vllm_importance_sampling_clip_min": "loss {name: sampler_correction, floor}",
    "multi_objective_aggregation": "advantage gdpo",
    "mask_truncated_completions": "mask_truncated",
    "min_p": "top_p or top_k",
    "repetition_penalty": "top_p, top_k or sampling",
    "generation_kwargs": "top_p, top_k or sampling",
    "cache_implementation": "engine",
    **dict.fromkeys(
        ("use_transformers_continuous_batching", "transformers_continuous_batching_config", "use_transformers_paged")
        + ("vllm_mode", "vllm_model_impl", "vllm_tensor_parallel_size", "vllm_structured_outputs_regex"),
        "engine",
    ),
    **dict.fromkeys(
        ("vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout", "vllm_group_port"),
        "engine: vllm_server and servers",
    ),
    "max_tool_calling_iterations": "max_completion_length",
    **dict.fromkeys(
        ("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "do_eval", "num_generations_eval")
        + ("per_device_eval_batch_size", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
        "evaluation {every, dataset}",
    ),
    **dict.fromkeys(
        ("do_predict", "prediction_loss_only", "eval_accumulation_steps", "eval_do_concat_batches")
        + ("eval_use_gather_object", "batch_eval_metrics", "include_for_metrics", "bf16_full_eval", "fp16_full_eval"),
        "evaluation {every, dataset}",
    ),
    "resume_from_checkpoint": "--resume on the command line",
    "data_seed": "seed",
    "ignore_data_skip": "--resume on the command line",
    "auto_find_batch_size": "micro_batch",
    "average_tokens_across_devices": "aggregate",
    "label_smoothing_factor": "loss",
    "local_rank": "--processes of `tersely launch local`",
    "parallelism_config": "--accelerate-config of the launcher",
    "length_column_name": "micro_batching",
    "train_sampling_strategy": "shuffle_dataset",
    "enable_jit_checkpoint": "save_steps; SIGTERM saves at the next step anyway",
}
"""Field -> replacement, always."""

LEFT_OUT = {
    "do_train": "`tersely train` always trains",
    "label_names": "the trainer makes its own labels",
    "log_multimodal": "prompts are text",
    "include_num_input_tokens_seen": "metrics.jsonl counts tokens as num_tokens",
    **dict.fromkeys(
        ("dataloader_drop_last", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers")
        + ("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "dataloader_in_order"),
        "the rows of a generation batch are read once, without a loader",
    ),
}
"""Field -> reason why it has no replacement."""


def require_read(key: str, trl_loss: bool) -> None:
    """Raise for a field without effect. `trl_loss`: the recipe uses one of TRL's own losses."""
    instead = NEVER_READ.get(key) or (None if trl_loss else OF_TRLS_LOSSES.get(key))
    if instead:
        raise ConfigError(f"TRL option {key} has no effect here. Use {instead} instead")
    if key in LEFT_OUT:
        raise ConfigError(f"TRL option {key} has no effect here. Remove it: {LEFT_OUT[key]}")
