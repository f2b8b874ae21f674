"""A checkpoint of a CPU rank loads where accelerate says it lies."""

from __future__ import annotations

import torch

from tersely.rl.cpu_ranks import load_as_cpu


def test_tensors_load_onto_a_numbered_cpu(tmp_path):
    torch.save({"exp_avg": torch.arange(4.0)}, tmp_path / "optimizer.pt")
    load_as_cpu()
    load_as_cpu()
    loaded = torch.load(tmp_path / "optimizer.pt", map_location=torch.device("cpu", 0), weights_only=True)
    assert loaded["exp_avg"].tolist() == [0, 1, 2, 3] and loaded["exp_avg"].device.type == "cpu"
    assert len({entry[2] for entry in torch.serialization._package_registry}) == len(
        torch.serialization._package_registry
    )
