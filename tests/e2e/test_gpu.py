"""On one GPU: a run with each engine. On two: weights that travel to a server over NCCL."""

from __future__ import annotations

import json
import math

import pytest
import torch
from support import served

pytestmark = [pytest.mark.gpu, pytest.mark.e2e]


GAP = 0.05
"""Mean difference of the log-probs of an engine and a trainer that both round to bfloat16; stale weights are far above."""


@pytest.fixture(autouse=True)
def _gpus(request):
    wanted = 2 if "two_gpus" in request.node.name else 1
    if torch.cuda.device_count() < wanted:
        pytest.skip(f"needs {wanted} GPU{'s' * (wanted > 1)}, and torch sees {torch.cuda.device_count()}")


def metrics(launcher, name, key):
    rows = map(json.loads, (launcher.folder / name / "metrics.jsonl").read_text().splitlines())
    return [row[key] for row in rows if key in row]


def test_a_run_with_the_trained_model_as_its_engine(launcher):
    done = launcher.run("alone", timeout=500, max_steps=2)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert len(launcher.losses("alone")) == 2 and all(map(math.isfinite, launcher.losses("alone")))


def test_an_engine_on_the_same_gpu_follows_the_trainer(launcher):
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    engine = {"engine": "vllm", "vllm_max_model_length": 224, "vllm_gpu_memory_utilization": 0.3}
    done = launcher.run("colocated", timeout=580, max_steps=4, **engine)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    gaps = metrics(launcher, "colocated", "mismatch/mean")
    assert len(gaps) == 4 and max(gaps) < GAP


def test_weights_travel_over_nccl_between_two_gpus(tmp_path, monkeypatch):
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    from transformers import AutoModelForCausalLM

    from tersely.engines.models import load_tokenizer
    from tersely.engines.server.engine import ServerEngine
    from tersely.engines.server.launch import VLLMServer
    from tersely.testbed import model_path

    with monkeypatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "1")
        server = VLLMServer(str(model_path()), tmp_path / "server.log", max_model_len=256, dtype="float32")
    with server:
        engine = ServerEngine(server.address, load_tokenizer(str(model_path())), weights_dir=tmp_path / "weights")
        model = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32).to("cuda:0")
        for version in range(3):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.02 * torch.randn_like(parameter))
            engine.sync_weights(model, version)
            assert engine.facts()["weights"] == {server.address: "nccl"}
            drawn = engine.generate(served.requests())
            assert served.largest_gap(model.cpu(), drawn, served.requests()) < GAP
            model.to("cuda:0")
        engine.close()
