"""vLLM's cost and absence touch nothing else; an engine in the process leaves it as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest
import torch

from tersely.engines import vllm as vllm_engine
from tersely.engines import vllm_import as vllm_process


def test_asking_without_vllm_says_how_to_install(monkeypatch):
    monkeypatch.setattr(vllm_process, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'tersely\[vllm\]'.*make engines"):
        vllm_engine.VLLMEngine("x", None)


@pytest.mark.slow
def test_vllm_is_not_imported_before_an_engine_is_made():
    """Not by our modules, nor by the parts of TRL that they stand on."""
    code = """
import sys
import tersely.engines.vllm, tersely.engines.server.engine, tersely.engines.transformers
import tersely.eval.evaluator, tersely.launch.cli.main
import tersely.rl.trainer, tersely.rl.sft.trainer, tersely.rl.rollouts.reference_score, tersely.launch.train
assert "trl.trainer.grpo_trainer" in sys.modules and "vllm" not in sys.modules
from tersely.engines.vllm_weights import named_parameters
names = [name for name, _ in named_parameters(__import__("torch").nn.Linear(2, 2))]
assert names == ["weight", "bias"], names
sys.exit("vllm" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_trl_sees_vllm_again_afterwards():
    import trl.import_utils as utils

    real = utils.is_vllm_available
    with vllm_process.hidden_from_trl():
        assert utils.is_vllm_available is real if "vllm" in sys.modules else not utils.is_vllm_available()
    assert utils.is_vllm_available is real


def test_the_process_is_put_back(monkeypatch):
    """What vLLM does to its host on a CPU, done here by hand."""
    platform = types.SimpleNamespace(current_platform=types.SimpleNamespace(is_cpu=lambda: True))
    if vllm_process.find_spec("vllm") is None:
        for name in ("vllm", "vllm.entrypoints", "vllm.entrypoints.llm"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, "vllm.platforms", platform)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    for name in vllm_process.DEFAULTS:  # monkeypatch removes at teardown what the code under test sets
        monkeypatch.setenv(name, "7")
    threads = torch.set_num_threads
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with vllm_process.in_process() as device:
        assert isinstance(device.is_cpu(), bool) and os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
        torch.manual_seed(0)
        torch.set_num_threads = print
        os.environ.update(LOCAL_WORLD_SIZE="1", LD_PRELOAD="libsomething.so")
    assert torch.set_num_threads is threads
    assert os.environ["LOCAL_WORLD_SIZE"] == "2" and "LD_PRELOAD" not in os.environ
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "7"  # the user's own stays
    assert torch.equal(torch.rand(2), expected)
