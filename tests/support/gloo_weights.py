"""NCCL's part played by gloo, so that weights travel between real processes without a GPU.

In the trainer it is a `Transport`; in the servers a transfer engine of vLLM's, which `installed` puts on their path as a
plugin. What differs from the real one is the broadcast alone.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist


class Group:
    def __init__(self, host, port, rank, world_size, timeout_s=8.0):
        timeout = timedelta(seconds=timeout_s)
        store = dist.TCPStore(host, port, world_size, rank == 0, timeout=timeout)
        self.group = dist.ProcessGroupGloo(store, rank, world_size, timeout)

    def broadcast(self, tensor):
        options = dist.BroadcastOptions()
        options.rootRank = 0
        self.group.broadcast([tensor], options).wait()


class Gloo:
    backend = "gloo"

    def __init__(self):
        self.sent = []

    def usable(self, device):
        return True

    def open(self, host, port, world_size):
        return Group(host, port, 0, world_size)

    def broadcast(self, group, tensors):
        self.sent.append(len(tensors))
        for _, tensor in tensors:
            group.broadcast(tensor)


def installed(folder: Path) -> str:
    """A path for servers on which vLLM finds the plugin."""
    facts = folder / "gloo_weights-0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gloo-weights\nVersion: 0\n")
    (facts / "entry_points.txt").write_text("[vllm.general_plugins]\ngloo_weights = support.gloo_weights:register\n")
    return f"{folder}:{Path(__file__).parents[1]}"


def register():
    """Called by vLLM in each of its processes."""
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory
    from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine

    class GlooEngine(NCCLWeightTransferEngine):
        def init_transfer_engine(self, init_info):
            rank = init_info.rank_offset + self.parallel_config.rank
            self.model_update_group = Group(init_info.master_address, init_info.master_port, rank, init_info.world_size)

        def update_weights(self, update_info):
            told = self.parse_update_info(update_info)
            for name, dtype, shape in zip(told.names, told.dtype_names, told.shapes, strict=True):
                tensor = torch.empty(shape, dtype=getattr(torch, dtype))
                self.model_update_group.broadcast(tensor)
                self.model.load_weights([(name, tensor)])

    if "gloo" not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine("gloo", GlooEngine)
