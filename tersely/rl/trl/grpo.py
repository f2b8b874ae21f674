"""Imports TRL's GRPOTrainer without importing vLLM; our engines import vLLM themselves when they need it."""

from tersely.engines.vllm_import import hidden_from_trl

with hidden_from_trl():
    from trl import GRPOTrainer

__all__ = ["GRPOTrainer"]
