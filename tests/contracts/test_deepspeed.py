"""DeepSpeed's data types: in what gradients are added up, with the plugin as our runs set it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = [pytest.mark.deepspeed, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
MICRO_BATCHES = 256
PROBE = """
import json, os, sys
from types import SimpleNamespace
import deepspeed, torch
from accelerate.utils import DeepSpeedPlugin
from deepspeed.utils import safe_get_full_grad
from tersely.rl.models import accumulate_in_float32

torch.distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
number, found = int(sys.argv[1]), {}
for stage in (2, 3):
    for ours in (False, True):
        plugin = DeepSpeedPlugin(zero_stage=stage, gradient_accumulation_steps=number)
        if ours:
            accumulate_in_float32(SimpleNamespace(deepspeed_plugin=plugin, bf16=True))
        config = {**plugin.deepspeed_config, "bf16": {"enabled": True}, "train_micro_batch_size_per_gpu": 1,
                  "train_batch_size": number, "gradient_accumulation_steps": number, "gradient_clipping": 0.0,
                  "optimizer": {"type": "AdamW", "params": {"torch_adam": True}}, "fp16": {"enabled": False}}
        torch.manual_seed(0)
        engine, *_ = deepspeed.initialize(model=torch.nn.Linear(64, 64, bias=False), config=config)
        exact = torch.zeros(64, 64, dtype=torch.float64)
        for i in range(number):
            row = torch.randn(1, 64, generator=torch.Generator().manual_seed(i)).bfloat16() + 0.5
            engine.backward(engine(row).float().sum())
            exact += row.double().expand(64, 64) / number
            if i < number - 1:
                engine.step()
        gradient = safe_get_full_grad(next(engine.module.parameters())).double()
        found[f"zero{stage} {'ours' if ours else 'default'}"] = float((gradient - exact).norm() / exact.norm())
print(json.dumps(found))
"""


def test_micro_batches_are_added_in_float32():
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: make engines")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(MICRO_BATCHES)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    error = json.loads(done.stdout.splitlines()[-1])
    for stage in ("zero2", "zero3"):
        assert error[f"{stage} default"] > 0.005, "DeepSpeed's default would do: the setting is not needed any more"
        assert error[f"{stage} ours"] < 1e-6


def test_a_users_own_choice_is_kept():
    from tersely.rl.models import accumulate_in_float32

    plugin = SimpleNamespace(hf_ds_config=SimpleNamespace(config={"data_types": {"grad_accum_dtype": "bf16"}}))
    accumulate_in_float32(SimpleNamespace(deepspeed_plugin=plugin, bf16=True))
    assert plugin.hf_ds_config.config["data_types"] == {"grad_accum_dtype": "bf16"}
    plugin.hf_ds_config.config.clear()
    accumulate_in_float32(SimpleNamespace(deepspeed_plugin=plugin, bf16=False))
    assert not plugin.hf_ds_config.config
