"""TRL's GRPO trainer, imported without the vLLM that TRL would import beside it: our engines import theirs when asked for."""

from tersely.engines.vllm_import import hidden_from_trl

with hidden_from_trl():
    from trl import GRPOTrainer

__all__ = ["GRPOTrainer"]
