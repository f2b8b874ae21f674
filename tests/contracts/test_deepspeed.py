"""DeepSpeed's data types: in what gradients are added up, with the plugin as our runs set it, in every listed release.

By default the tested version and the oldest one; TERSELY_CONTRACTS=all (`make contracts`) takes all.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tersely.launch.preflight import doctor

FOLDER = Path(__file__).parent
spec = importlib.util.spec_from_file_location("contract_sources", FOLDER / "sources.py")
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)

LISTED = doctor.tested()["deepspeed"]
ALL = [str(version) for version in LISTED["contracts"]]
CHOSEN = ALL if os.environ.get("TERSELY_CONTRACTS") == "all" else [*{ALL[0], str(LISTED["tested"])}]
pytestmark = [pytest.mark.deepspeed, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
MICRO_BATCHES = 256
PROBE = """
import json, os, sys
from types import SimpleNamespace
import deepspeed, torch
from accelerate.utils import DeepSpeedPlugin
from deepspeed.utils import safe_get_full_grad
from tersely.engines.models import accumulate_in_float32

deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # would be compiled, and one rank shares nothing
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
print(json.dumps({"version": deepspeed.__version__.strip(), **found}))
"""


@pytest.mark.parametrize("version", CHOSEN)
def test_micro_batches_are_added_in_float32(version):
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: make engines")
    try:
        path = os.pathsep.join([str(sources.python_files("deepspeed", version)), str(ROOT)])
    except sources.NoSources as error:
        reason = f"the sources of DeepSpeed {version} are out of reach: {error}"
        pytest.fail(reason) if os.environ.get("TERSELY_CI") == "1" else pytest.skip(reason)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(MICRO_BATCHES)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    error = json.loads(done.stdout.splitlines()[-1])
    assert error["version"] == version
    for stage in ("zero2", "zero3"):
        assert error[f"{stage} default"] > 0.005, "DeepSpeed's default would do: the setting is not needed any more"
        assert error[f"{stage} ours"] < 1e-6


def test_a_users_own_choice_is_kept():
    from tersely.engines.models import accumulate_in_float32

    plugin = SimpleNamespace(hf_ds_config=SimpleNamespace(config={"data_types": {"grad_accum_dtype": "bf16"}}))
    accumulate_in_float32(SimpleNamespace(deepspeed_plugin=plugin, bf16=True))
    assert plugin.hf_ds_config.config["data_types"] == {"grad_accum_dtype": "bf16"}
    plugin.hf_ds_config.config.clear()
    accumulate_in_float32(SimpleNamespace(deepspeed_plugin=plugin, bf16=False))
    assert not plugin.hf_ds_config.config
