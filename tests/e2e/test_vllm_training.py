"""`engine: vllm` through the real command: a gap that stays small, and a tied model that stops the run."""

from __future__ import annotations

import json
import shutil

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.vllm]

LENGTH = {"engine": "vllm", "max_steps": 4, "learning_rate": 5e-3, "vllm_max_model_length": 160}


@pytest.fixture(autouse=True)
def _vllm():
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")


def gaps(launcher, name):
    lines = (launcher.folder / name / "metrics.jsonl").read_text().splitlines()
    return [row["engine_gap/mean"] for row in map(json.loads, lines) if "engine_gap/mean" in row]


def test_the_engine_follows_the_trainer(launcher):
    done = launcher.run("vllm", timeout=400, **LENGTH)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    measured = gaps(launcher, "vllm")
    assert len(measured) == 4 and max(measured) < 5e-3
    assert launcher.completions("vllm").correct.mean() > 0.3


def test_tied_embeddings_stop_the_run_with_the_cause(launcher):
    """The packed output head of the CPU engine stays as it was loaded, while the trainer moves the shared matrix."""
    import torch
    from transformers import AutoModelForCausalLM

    from tersely.testbed import model_path

    tied = launcher.folder / "tied"
    shutil.copytree(model_path(), tied)
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tied, dtype="float32")
    model.save_pretrained(tied)
    done = launcher.run(
        "tied_run",
        timeout=400,
        **{**LENGTH, "model_name_or_path": str(tied), "max_steps": 30, "learning_rate": 2e-2, "gap_limit": 0.02},
        reward={"name": "soft_overlong", "cache": 60, "max_length": 64},
    )
    assert done.returncode != 0
    assert "embeddings are tied" in done.stdout + done.stderr
    assert max(gaps(launcher, "tied_run"), default=0.0) <= 0.02
