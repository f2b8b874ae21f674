"""No code runs from a checkpoint: whoever calls `torch.load` in this process gets tensors and plain values, or an error.

Transformers asks for weights alone by itself; this holds for all others. What is left: DeepSpeed's own checkpoints hold
objects of its configuration, and torch reads the metadata of FSDP's sharded ones by unpickling: resume such a run only
from a folder that nobody else can write.
"""

from __future__ import annotations

import os

FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def weights_only() -> None:
    """From now on. Idempotent; inherited by child processes."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true":
        os.environ[FORCE] = "1"
