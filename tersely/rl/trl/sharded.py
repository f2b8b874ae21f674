"""Gathers a model sharded by FSDP2 for as long as it generates.

Every forward of a sharded model is a collective of all ranks. Rows end at different positions, so ranks need different numbers
of forwards, and an additional forward of one rank would join a different collective of the other ranks. With all weights
gathered a forward needs no other rank. It costs the memory of the whole weights during generation, as
`ds3_gather_for_generation` of DeepSpeed does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def gathered(model: nn.Module, reshard_after_forward: bool) -> Iterator[None]:
    """Keep the weights of all sharded modules on each rank; afterwards they are sharded again, as training left them.

    reshard_after_forward: what the modules do in training.
    """
    from torch.distributed.fsdp import FSDPModule

    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.reshard()
            module.set_reshard_after_forward(reshard_after_forward, recurse=False)
