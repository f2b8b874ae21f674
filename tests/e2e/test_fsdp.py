"""FSDP2 under the shipped configuration, on two ranks over gloo: the same losses as without it, resumed to the last bit.

accelerate shards on accelerators alone, so the runs start through a few lines that tell it that it has some.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import tersely.configs
from tersely.rl.checkpoints import manifest as checkpoint

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(torch.cuda.is_available(), reason="the ranks here are CPUs")]
SHIPPED = Path(tersely.configs.__file__).parent / "accelerate" / "fsdp2.yaml"
START = """
import sys
import torch.distributed as dist
import torch.distributed.fsdp as fsdp
from accelerate.state import PartialState
from accelerate.utils import DistributedType

PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
dist.init_process_group("gloo")
shard, count = fsdp.fully_shard, 0

def counted(*args, **kwargs):
    global count
    count += 1
    return shard(*args, **kwargs)

fsdp.fully_shard = counted
from tersely.launch.cli.main import run_command
from tersely.launch.clean_exit import end_process
from tersely.launch.cli.train import main
status = run_command(main, sys.argv[1:])
print("modules sharded:", count)
end_process(status)
"""


@pytest.fixture(scope="module")
def start(shared_launcher):
    launcher = shared_launcher
    script = launcher.folder / "sharded.py"
    script.write_text(START)

    def run(name, *, state="FULL_STATE_DICT", fails=False, **changes):
        config = yaml.safe_load(SHIPPED.read_text())
        config["fsdp_config"]["fsdp_state_dict_type"] = state
        path = launcher.folder / f"{state}.yaml"
        path.write_text(yaml.safe_dump(config))
        start = {"accelerate": ("--config_file", str(path)), "processes": 2}
        command = launcher.command(name, **start, micro_batch=4, **changes)
        at = command.index("tersely.launch.train")
        command[at - 1 : at + 1] = [str(script)]
        environment = {**launcher.warm_environment(), "ACCELERATE_TORCH_DEVICE": "cpu"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, cwd=launcher.folder
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, said[-4000:]
        return said

    run.launcher = launcher
    return run


@pytest.fixture(scope="module")
def whole(start):
    """Four steps without an interruption."""
    said = start("whole")
    assert "modules sharded: 0" not in said and said.count("modules sharded:") == 2
    return start.launcher


def test_losses_are_those_of_two_plain_ranks(whole):
    done = whole.run("plain", processes=2, micro_batch=4)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert len(whole.losses("whole")) == 4
    np.testing.assert_allclose(whole.losses("whole"), whole.losses("plain"), atol=1e-5)
    assert whole.completions("whole").text.tolist() == whole.completions("plain").text.tolist()


def test_the_final_weights_are_whole(whole):
    from transformers import AutoModelForCausalLM

    from tersely.testbed import model_path

    final = whole.folder / "whole" / "final"
    found = AutoModelForCausalLM.from_pretrained(final).state_dict()
    begun = AutoModelForCausalLM.from_pretrained(model_path()).state_dict()
    assert {name: value.shape for name, value in found.items()} == {name: v.shape for name, v in begun.items()}
    assert sum(not value.equal(begun[name]) for name, value in found.items()) > len(found) / 2
    assert checkpoint.fault(final) is None


@pytest.fixture(scope="module")
def half(start):
    """`half(state) -> folder`: two steps, saved in this way."""

    @cache
    def run(state):
        start(f"half_{state}", state=state, max_steps=2)
        return start.launcher.folder / f"half_{state}"

    return run


@pytest.mark.parametrize("state", [pytest.param("FULL_STATE_DICT", marks=pytest.mark.exhaustive), "SHARDED_STATE_DICT"])
def test_a_resume_is_exact(start, whole, half, state):
    name = state.split("_")[0].lower()
    shutil.copytree(half(state), whole.folder / name)
    start(name, state=state, resume=True)
    assert whole.losses(name) == whole.losses("whole")
    assert whole.completions(name).text.tolist() == whole.completions("whole").text.tolist()


def test_a_cold_start_samples_on_every_rank_as_without_it(start, whole):
    """Under FSDP transformers reads the weights on the first rank alone, and leaves the others to the sharding."""
    cold = {"name": "warm", "kind": "sft", "steps": 1, "prompts": 16, "samples": 2, "batch_size": 2}
    stages = {"stages": [cold, {"name": "learn", "steps": 1}], "max_steps": 1}
    start("cold", **stages)
    done = whole.run("cold_plain", processes=2, micro_batch=4, **stages)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    sharded, plain = (
        json.loads((whole.folder / name / "stages" / "1-warm" / "examples.json").read_text())
        for name in ("cold", "cold_plain")
    )
    assert sharded == plain and len(plain) > 4


def test_the_reference_is_whole_on_every_rank(start, whole):
    """It is not what accelerate fills; TRL shards what each rank has read."""
    changes = {"beta": 0.5, "learning_rate": 1e-2, "max_steps": 2}
    start("reference", **changes)
    done = whole.run("reference_plain", processes=2, micro_batch=4, **changes)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    sharded, plain = (
        [json.loads(line) for line in (whole.folder / name / "metrics.jsonl").read_text().splitlines()][:2]
        for name in ("reference", "reference_plain")
    )
    assert [row["kl"] for row in plain][0] == 0 < plain[1]["kl"]
    np.testing.assert_allclose([row["kl"] for row in sharded], [row["kl"] for row in plain], atol=1e-4)


class Hostile:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


def test_a_table_of_contents_that_holds_code_is_refused(start, half, tmp_path):
    shutil.copytree(half("SHARDED_STATE_DICT"), start.launcher.folder / "hostile")
    folder = start.launcher.folder / "hostile" / "checkpoint-2"
    (table,) = folder.glob("pytorch_model*/.metadata")
    table.write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    checkpoint.seal(folder, 2, checkpoint.component_state(folder))
    said = start("hostile", state="SHARDED_STATE_DICT", resume=True, fails=True)
    assert "table of contents" in said and "mkdir" in said
    assert not (tmp_path / "ran").exists()
