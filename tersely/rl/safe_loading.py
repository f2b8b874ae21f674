"""No code runs from a checkpoint: whoever calls `torch.load` in this process gets tensors and plain values, or an error.

Transformers asks for weights alone by itself; DeepSpeed does not, and its optimiser states hold three classes of its own,
which are let through by name. What is left: torch unpickles the metadata of FSDP's sharded checkpoints by other means.
"""

from __future__ import annotations

import os
from importlib import import_module

FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
DEEPSPEED = {
    "deepspeed.runtime.fp16.loss_scaler": ("LossScaler", "DynamicLossScaler"),
    "deepspeed.runtime.zero.config": ("ZeroStageEnum",),
    "deepspeed.utils.tensor_fragment": ("fragment_address",),
}
"""Numbers and enumerations in the files of ZeRO 1 to 3."""


def weights_only() -> None:
    """From now on. Idempotent; inherited by child processes."""
    os.environ[FORCE] = "1"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true":
        return
    import torch

    for module, names in DEEPSPEED.items():
        torch.serialization.add_safe_globals([getattr(import_module(module), name) for name in names])
