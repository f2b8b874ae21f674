"""Our use of transformers against the releases from the tested one to the newest: config and activation checkpointing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tersely.launch import doctor

FOLDER = Path(__file__).parent
spec = importlib.util.spec_from_file_location("contract_sources", FOLDER / "sources.py")
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)

TESTED = doctor.tested()["transformers"]
VERSIONS = [str(TESTED["tested"]), *map(str, TESTED["contracts"])]
PROBE = """
import json, warnings
import transformers
from transformers import Qwen2Config, Qwen2ForCausalLM
from tersely.rl import checkpointing
from tersely.rl.config import grpo_config, split_recipe

found = {"version": transformers.__version__, "state": {}}
tiny = Qwen2Config(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                   num_key_value_heads=2)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for name in ("gradient_checkpointing", "activation_checkpointing"):
        for wanted in (True, False):
            run, values = split_recipe({"model_name_or_path": "testbed", name: wanted, "max_steps": 1})
            args = grpo_config(run, values, run.objective(values), 1)
            model = Qwen2ForCausalLM(tiny)
            if checkpointing.setting(args, "gradient_checkpointing"):
                checkpointing.enable(model, args)
            renamed = hasattr(type(model), "is_activation_checkpointing")
            is_on = model.is_activation_checkpointing if renamed else model.is_gradient_checkpointing
            found["state"][f"{name} {wanted}"] = is_on
found["deprecated"] = [str(one.message) for one in said if "activation_checkpointing" in str(one.message)]
print("FOUND " + json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_either_name_of_activation_checkpointing_works(version):
    path = [str(FOLDER.parents[1])]
    if version != TESTED["tested"]:
        try:
            path.insert(0, str(sources.python_files("transformers", version)))
        except sources.NoSources as error:
            reason = f"the sources of transformers {version} are out of reach: {error}"
            pytest.fail(reason) if os.environ.get("TERSELY_CI") == "1" else pytest.skip(reason)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))[6:])
    assert found["version"] == version
    assert found["state"] == {
        f"{name} {wanted}": wanted
        for name in ("gradient_checkpointing", "activation_checkpointing")
        for wanted in (True, False)
    }
    assert not found["deprecated"], "the old name is passed where the new one is there"
